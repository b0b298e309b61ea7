//! The steps of the boards' programs.

use std::path::Path;

use xtask_common::requirements::Part;

use super::steps::{CargoCommand, Count, Step};

/// With 64 KB of RAM, and with the Teensy's controllers.
const SMALL: &str = "qemu-lm3s6965";
const LARGE: &str = "qemu-imx6ul";

/// All of them; reports go to the folder.
pub fn steps(reports: &Path) -> Vec<Step> {
    let checked = |name: &'static str, about, board, how| {
        let command = CargoCommand::new(&format!("xtask firmware run {board} --check {how}"));
        step(name, about, vec![command.file("--json", &reports.join(format!("{name}.json")))])
    };
    let long = |step| Step { only_full: true, minutes: 60, ..step };
    let bench = |how| vec![CargoCommand::new(&format!("xtask hil {SMALL} {how}"))];
    vec![
        step(
            "board-types",
            "the programs of the boards have no errors, and clippy has nothing to say",
            vec![CargoCommand::new("xtask firmware typecheck qemu-lm3s6965 qemu-imx6ul pico-w esp32c3 teensy41")],
        ),
        checked("board-small", "a board with 64 KB of RAM, in QEMU", SMALL, "--quick"),
        checked("board-large", "the Teensy's Ethernet and SD blocks, in QEMU", LARGE, "--quick"),
        step("hil-board", "the runner for boards on an emulated one", bench("--quick --skip conformance")),
        long(step(
            "board-sizes",
            "all boards' programs are built, and fit",
            vec![CargoCommand::new("xtask firmware size")],
        )),
        long(checked("board-small-all", "all tests on a board with 64 KB of RAM", SMALL, "")),
        long(checked("board-large-all", "all tests on the Teensy's controllers", LARGE, "")),
        long(step("hil-board-all", "the runner for boards, all of it", bench(""))),
        Step {
            needs: &[Part::Boards, Part::Rp2040],
            ..long(step(
                "board-pico",
                "the Pico W's path to its card, on an emulated RP2040",
                vec![CargoCommand::new("xtask firmware run pico-w --check")],
            ))
        },
    ]
}

fn step(name: &'static str, about: &'static str, commands: Vec<CargoCommand>) -> Step {
    let needs = &[Part::Boards];
    Step { name, about, commands, count: Count::Whole, minutes: 15, only_full: false, needs }
}
