# What the target says of itself, held against what it does (sg3-utils) and against what Linux makes of it. LUN 0 has
# 512-byte blocks in physical ones of 4096, thin, with a write cache; it is the file system's disk elsewhere.

IMAGE_MIB=768

# expect EXIT_STATUS COMMAND…; what it printed stays in /tmp/out.
expect() {
    wanted=$1
    shift
    status=0
    "$@" >/tmp/out 2>&1 || status=$?
    if [ "$status" -ne "$wanted" ]; then
        show "$*" cat /tmp/out
        fail "$* ended with $status, not with $wanted: $(tail -n 1 /tmp/out)"
    fi
}

# says TEXT: what the last command printed has this text.
says() {
    grep -qF -- "$1" /tmp/out || {
        show "output" cat /tmp/out
        fail "it does not say: $1"
    }
}

# equals WHAT VALUE EXPECTED
equals() { [ "$2" = "$3" ] || fail "$1 is $2, not $3"; }

# Whether REPORT SUPPORTED OPERATION CODES lists a command: OPCODE, or OPCODE,SERVICE_ACTION, in hexadecimal.
is_listed() {
    sg_opcodes --opcode="$1" "$disk" >/tmp/listed 2>&1 || fail "sg_opcodes cannot ask for $1: $(tail -n 1 /tmp/listed)"
    ! grep -q "Command is NOT supported" /tmp/listed
}

# consistent OPCODE[,SERVICE_ACTION] COMMAND…: works where it is listed; else it ends as sg3-utils does when the target says
# "invalid command operation code" (9), or "invalid field in CDB" (5) for a service action.
consistent() {
    code=$1
    shift
    if is_listed "$code"; then
        expect 0 "$@"
        return
    fi
    status=0
    "$@" >/tmp/out 2>&1 || status=$?
    case $status in
        9 | 5) note "not there, and not advertised: $1 ($code)" ;;
        *) fail "$* is not advertised and ended with $status: $(tail -n 1 /tmp/out)" ;;
    esac
}

# A file of COUNT blocks of 512 bytes of one letter.
blocks_of() { yes "$1" | tr -d '\n' | head -c "$(($2 * 512))" >"/tmp/$1$2"; }

# reads_as BLOCK COUNT FILE
reads_as() {
    dd if="$disk" iflag=direct bs=512 skip="$1" count="$2" 2>/dev/null | cmp - "$3" ||
        fail "blocks from $1 on are not those of $3"
}

put() { dd if="$1" of="$disk" oflag=direct bs=512 seek="$2" conv=notrunc 2>/dev/null || fail "cannot write $1"; }

queue() { cat "/sys/block/$1/queue/$2"; }

step "log in on both portals, two paths by multipath"
start_initiator
login
start_multipath
wwid=$(wwid_of 0)
set -- $(disks_of 0)
disk=/dev/$1 other=/dev/$2 name=$1
map=$(basename "$(readlink -f "/dev/mapper/$wwid")")

step "the kernel sees 512e, thin, discard and the write cache"
for one in "$name" "$map"; do
    equals "$one's size in 512-byte units" "$(cat "/sys/block/$one/size")" "$((IMAGE_MIB * 2048))"
    equals "$one's logical block" "$(queue "$one" logical_block_size)" 512
    equals "$one's physical block" "$(queue "$one" physical_block_size)" 4096
    equals "$one's write cache" "$(queue "$one" write_cache)" "write back"
    equals "$one's FUA" "$(queue "$one" fua)" 1
    equals "$one's discard granularity" "$(queue "$one" discard_granularity)" 4096
    equals "$one's rotation" "$(queue "$one" rotational)" 0
    [ "$(queue "$one" discard_max_bytes)" -ge 1048576 ] || fail "$one discards $(queue "$one" discard_max_bytes) bytes at most"
    [ "$(queue "$one" write_zeroes_max_bytes)" -gt 0 ] || fail "$one has no zeroing"
done
scsi=$(echo "/sys/block/$name/device/scsi_disk"/*)
equals "the cache type" "$(cat "$scsi/cache_type")" "write back"
equals "thin provisioning" "$(cat "$scsi/thin_provisioning")" 1
equals "the provisioning mode" "$(cat "$scsi/provisioning_mode")" unmap
equals "DISC-GRAN of lsblk -D" "$(lsblk --nodeps -Dnro DISC-GRAN "$disk")" 4K

step "multipath -ll: one disk, two active paths"
expect 0 multipath -ll "$wwid"
says "iESP,iESP disk"
says "size=${IMAGE_MIB}M"
equals "the number of active paths" "$(grep -c 'active ready running' /tmp/out)" 2

step "identity: one disk on both paths, another one on the other LUN"
expect 0 sg_luns "$disk"
says "0000000000000000"
says "0001000000000000"
serial() { sg_vpd -p sn "$1" | sed -n 's/.*serial number: *//p'; }
set -- $(disks_of 1)
equals "the serial number on the other path" "$(serial "$other")" "$(serial "$disk")"
[ "$(serial "$disk")" != "$(serial "/dev/$1")" ] || fail "both LUNs have the serial number $(serial "$disk")"
expect 0 sg_vpd -p di "$disk"
says "naa.$(echo "$wwid" | cut -c2-)"
says "$TARGET"

step "every vital product data page that is listed can be read"
pages=$(sg_vpd -p 0 --raw "$disk" | tail -c +5 | hexdump -v -e '/1 "%02x "')
note "pages: $pages"
for page in $pages; do
    expect 0 sg_vpd -p "0x$page" --hex "$disk"
done
case $pages in *"80 83 "*"b0 b1 b2 "*) ;; *) fail "one of 80, 83, b0, b1, b2 is not listed: $pages" ;; esac
expect 5 sg_vpd --force -p 0xc5 --hex "$disk"

step "capacity, mode pages, port groups, sense"
expect 0 sg_readcap --16 "$disk"
says "Number of logical blocks=$((IMAGE_MIB * 2048))"
says "lbpme=1, lbprz=1"
says "Logical blocks per physical block exponent=3"
for page in 1 8 0xa 0x1c; do
    expect 0 sg_modes --page="$page" "$disk"
    expect 0 sg_modes --six --page="$page" "$disk"
done
expect 5 sg_modes --page=0x19 "$disk"
consistent 0xa3,0xa sg_rtpg "$disk"
says "target port group asymmetric access state : 0x00"
expect 0 sg_turs "$disk"
expect 0 sg_requests "$disk"
says "No Sense"
expect 0 sg_inq "$disk"
says "CmdQue=1"

step "what is advertised works, and what does not work is not advertised"
consistent 0x4d sg_logs "$disk"
consistent 0x5e,0 sg_persist --in --read-keys "$disk"
consistent 0x5e,2 sg_persist --in --report-capabilities "$disk"
consistent 0x84,3 sg_copy_results --params "$disk"
consistent 0xa3,5 sg_ident "$disk"
consistent 0xa3,0xf sg_timestamp "$disk"
consistent 0xa4,0xa sg_raw "$disk" a4 0a 00 00 00 00 00 00 00 00 00 00
consistent 0x1d sg_senddiag --test "$disk"
consistent 0x35 sg_sync "$disk"
consistent 0x91 sg_sync --16 "$disk"
consistent 0x1b sg_start --start "$disk"
consistent 0x1e sg_prevent --allow "$disk"
consistent 0x2f sg_verify --lba=0 --count=64 "$disk"
consistent 0x8f sg_verify --16 --lba=0 --count=64 "$disk"
consistent 0x9e,0x12 sg_get_lba_status --lba=0 "$disk"
consistent 0xa3,0xd sg_opcodes --tmf "$disk"

step "write, write and verify, verify with data"
blocks_of A 8
blocks_of B 8
blocks_of A 1
blocks_of B 1
put /tmp/A8 0
reads_as 0 8 /tmp/A8
expect 0 sg_verify --lba=0 --count=8 --ebytchk=1 --ndo=4096 --in=/tmp/A8 "$disk"
expect 14 sg_verify --lba=0 --count=8 --ebytchk=1 --ndo=4096 --in=/tmp/B8 "$disk"
expect 0 sg_write_verify --lba=8 --num=8 --in=/tmp/B8 "$disk"
expect 0 sg_write_verify --16 --bytchk=1 --lba=16 --num=8 --in=/tmp/A8 "$disk"
reads_as 8 8 /tmp/B8
reads_as 16 8 /tmp/A8

step "COMPARE AND WRITE: writes on a match, tells a miscompare, changes nothing then"
expect 0 sg_compare_and_write --lba=0 --num=8 --xferlen=8192 --in=/tmp/A8 --inw=/tmp/B8 "$disk"
reads_as 0 8 /tmp/B8
expect 14 sg_compare_and_write --quiet --lba=0 --num=8 --xferlen=8192 --in=/tmp/A8 --inw=/tmp/A8 "$other"
reads_as 0 8 /tmp/B8

step "WRITE SAME, with and without UNMAP, and without data"
head -c 4096 /dev/zero >/tmp/zero8
expect 0 sg_write_same --10 --lba=24 --num=8 --in=/tmp/A1 --xferlen=512 "$disk"
reads_as 24 8 /tmp/A8
expect 0 sg_write_same --16 --lba=24 --num=8 --in=/tmp/B1 --xferlen=512 "$disk"
reads_as 24 8 /tmp/B8
expect 0 sg_write_same --16 --ndob --unmap --lba=24 --num=8 "$disk"
reads_as 24 8 /tmp/zero8

step "UNMAP and GET LBA STATUS: what is unmapped reads as zeros and is told to be deallocated"
put /tmp/A8 2048
expect 0 sg_get_lba_status --lba=2048 --brief --maxlen=24 "$disk"
says "0x0000000000000800"
grep -q "0x0000000000000800 .* 0  " /tmp/out || fail "what was written is not mapped: $(tail -n 1 /tmp/out)"
expect 0 sg_unmap --force --lba=2048 --num=8 "$disk"
expect 0 sg_get_lba_status --lba=2048 --brief --maxlen=24 "$disk"
grep -q "0x0000000000000800 .* 1  " /tmp/out || fail "what was unmapped is mapped: $(tail -n 1 /tmp/out)"
reads_as 2048 8 /tmp/zero8
expect 22 sg_unmap --force --lba="$((IMAGE_MIB * 2048))" --num=8 "$disk"

# held_off WHAT: the other path can neither read nor write (sg3-utils ends with 24 at RESERVATION CONFLICT).
held_off() {
    status=0
    sg_raw --request=512 "$other" 28 00 00 00 00 00 00 00 01 00 >/tmp/out 2>&1 || status=$?
    [ "$status" -eq 24 ] || [ "$1" = writes ] || fail "$2: the other path was not held off from reading ($status)"
    status=0
    sg_raw --send=512 --infile=/tmp/A1 "$other" 2a 00 00 00 00 00 00 00 01 00 >/tmp/out 2>&1 || status=$?
    [ "$status" -eq 24 ] || fail "$2: the other path was not held off from writing ($status)"
}

let_in() {
    expect 0 sg_raw --request=512 "$other" 28 00 00 00 00 00 00 00 01 00
    expect 0 sg_raw --send=512 --infile=/tmp/A1 "$other" 2a 00 00 00 00 00 00 00 01 00
}

step "reservations hold off the other path, and end"
if is_listed 0x16; then
    expect 0 sg_raw "$disk" 16 00 00 00 00 00
    held_off all "RESERVE(6)"
    expect 0 sg_raw "$disk" 17 00 00 00 00 00
    let_in
    expect 0 sg_raw "$disk" 56 00 00 00 00 00 00 00 00 00
    held_off all "RESERVE(10)"
    expect 0 sg_raw "$disk" 57 00 00 00 00 00 00 00 00 00
    let_in
else
    note "RESERVE is not advertised"
fi
if is_listed 0x5f,1; then
    persist() { expect 0 sg_persist --no-inquiry --out "$@" "$disk"; }
    persist --register --param-sark=0xabc123
    # Write Exclusive, Exclusive Access
    for type in 1:writes 3:all; do
        persist --reserve --param-rk=0xabc123 --prout-type="${type%:*}"
        held_off "${type#*:}" "a persistent reservation of type ${type%:*}"
        persist --release --param-rk=0xabc123 --prout-type="${type%:*}"
        let_in
    done
    persist --register --param-rk=0xabc123 --param-sark=0
else
    note "persistent reservations are not advertised"
fi

step "blkdiscard and blkdiscard --zeroout: the image gives the space back"
dd if=/dev/urandom of="$disk" oflag=direct bs=1M count=64 2>/dev/null
ask allocated least 65536
# On the map: its paths are in use. By its full name: busybox has one of its own.
expect 0 /usr/sbin/blkdiscard --offset 1048576 "/dev/mapper/$wwid"
ask allocated most 1024
dd if=/dev/urandom of=/tmp/random bs=1M count=1 2>/dev/null
dd if=/tmp/random of="$disk" oflag=direct bs=1M 2>/dev/null
expect 0 /usr/sbin/blkdiscard --zeroout --offset 4096 --length 8192 "/dev/mapper/$wwid"
dd if=/dev/zero of=/tmp/random bs=4096 seek=1 count=2 conv=notrunc 2>/dev/null
dd if="$disk" iflag=direct bs=1M count=1 2>/dev/null | cmp - /tmp/random || fail "not just the 8192 bytes are zeros"
expect 0 /usr/sbin/blkdiscard "/dev/mapper/$wwid"
ask allocated most 64

step "fstrim on ext4: the image gives the space back"
mkfs.ext4 -q "/dev/mapper/$wwid" && mount -t ext4 "/dev/mapper/$wwid" /mnt || fail "no ext4"
dd if=/dev/urandom of=/mnt/file bs=1M count=64 2>/dev/null
sync
ask allocated least 65536
rm /mnt/file
sync
expect 0 /usr/sbin/fstrim -v /mnt
note "$(cat /tmp/out)"
ask allocated most 40960
umount /mnt
e2fsck -f -n "/dev/mapper/$wwid" >/tmp/out 2>&1 || fail "e2fsck: $(tail -n 1 /tmp/out)"

step "log out"
multipath -F || fail "a map is in use"
killall multipathd
logout
