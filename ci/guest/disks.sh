# The disks that QEMU gives the guest, by the serial numbers that the host gave them.

disk_of() {
    for disk in /sys/block/vd*; do
        [ "$(cat "$disk/serial")" != "$1" ] || {
            echo "/dev/$(basename "$disk")"
            return
        }
    done
    fail "no disk $1"
}
