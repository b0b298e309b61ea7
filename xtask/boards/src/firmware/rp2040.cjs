// An RP2040 (npm: rp2040js) that runs a program from its flash, with UART0 on standard error and the card on the wires of SPI1:
// what goes over them leaves by standard output, and the card's answers come by standard input (simulator/src/wires.rs).
// Arguments: the folder of rp2040js, the flash's bytes, the seconds of the board's time that it may take.
'use strict';
const fs = require('fs');
const [folder, flash, limit] = process.argv.slice(2);
const { RP2040, ConsoleLogger, LogLevel } = require(folder);
const { SimulationClock } = require(`${folder}/dist/cjs/clock/simulation-clock.js`);

const CHIP_SELECT = 12;
const VECTORS = 0x10000100;
const CYCLE_NANOS = 8;

const clock = new SimulationClock();
const chip = new RP2040(clock);
chip.logger = new ConsoleLogger(LogLevel.Error, false);
chip.flash.set(fs.readFileSync(flash));
// What the boot ROM and the second stage do: stack and start from the vectors, which lie behind the boot code.
chip.core.VTOR = VECTORS;
chip.core.SP = chip.flashView.getUint32(VECTORS & 0xffffff, true);
chip.core.PC = chip.flashView.getUint32((VECTORS & 0xffffff) + 4, true) & ~1;

// The cache before the flash (2.6.3), of which the emulator has nothing: no reads are under way in the background.
chip.peripherals[0x14000] = { readUint32: () => 0, writeUint32Atomic: () => {} };

// The boot ROM's functions that write the flash (RP2040 data sheet, 2.8.3.1), each a breakpoint and a return: the flash is NOR, whose
// bits a write only clears.
const FUNCTIONS = {
  IF: () => {},
  EX: () => {},
  FC: () => {},
  CX: () => {},
  C4: ([to, from, count]) => {
    for (let at = 0; at < count; at++) chip.writeUint8(to + at, chip.readUint8(from + at));
  },
  RE: ([from, count]) => {
    if (from % 4096 || count % 4096) refuse(`an erasure of ${count} bytes at ${from}`);
    chip.flash.fill(0xff, from, from + count);
  },
  RP: ([to, from, count]) => {
    if (to % 256 || count % 256) refuse(`a write of ${count} bytes at ${to}`);
    for (let at = 0; at < count; at++) chip.flash[to + at] &= chip.readUint8(from + at);
  },
};
function refuse(what) {
  process.stderr.write(`the flash does not take ${what}\n`);
  process.exit(4);
}
const LOOKUP = 0x100;
const BREAKPOINT_AND_RETURN = 0x4770be00;
const names = Object.keys(FUNCTIONS);
for (let number = 0; number <= names.length; number++) {
  chip.bootrom[LOOKUP / 4 + number] = BREAKPOINT_AND_RETURN | number;
}
chip.bootrom[0x18 / 4] = LOOKUP | 1;
chip.onBreak = (number) => {
  const registers = chip.core.registers;
  if (number > 0) return FUNCTIONS[names[number - 1]](registers);
  const name = String.fromCharCode(registers[1] & 0xff, registers[1] >> 8);
  if (!FUNCTIONS[name]) refuse(`the boot ROM's function ${name}`);
  registers[0] = (LOOKUP + 4 * (names.indexOf(name) + 1)) | 1;
};

const record = Buffer.alloc(16);
function tell(kind, value) {
  record[0] = kind;
  record[1] = value;
  record.writeUInt32LE(Math.round(chip.spi[1].clockFrequency), 4);
  record.writeBigUInt64LE(BigInt(Math.floor(clock.micros)), 8);
  for (let sent = 0; sent < record.length; ) sent += fs.writeSync(1, record, sent);
}

// A byte takes its time: the DMA would overrun the receive FIFO otherwise.
const answer = Buffer.alloc(1);
const shifted = clock.createAlarm(() => chip.spi[1].completeTransmit(answer[0]));
chip.spi[1].onTransmit = (byte) => {
  tell(0, byte);
  if (fs.readSync(0, answer, 0, 1) !== 1) process.exit(2);
  shifted.schedule(8e9 / chip.spi[1].clockFrequency);
};
let selected = 1;
chip.gpio[CHIP_SELECT].addListener((state) => {
  // 0 is low; an input with a pull-up is not driven.
  const now = state === 0 ? 1 : 0;
  if (now !== selected) tell(1, (selected = now));
});

let line = '';
chip.uart[0].onByte = (byte) => {
  line += String.fromCharCode(byte);
  if (byte !== 10) return;
  process.stderr.write(line);
  if (/card: (PASSED|FAILED)/.test(line)) process.exit(line.includes('PASSED') ? 0 : 1);
  line = '';
};

while (clock.micros < Number(limit) * 1e6) {
  if (chip.core.waiting) {
    clock.tick(clock.nanosToNextAlarm || CYCLE_NANOS);
  } else {
    clock.tick(chip.core.executeInstruction() * CYCLE_NANOS);
  }
}
process.stderr.write(`no verdict within ${limit} s of the board's time\n`);
process.exit(3);
