# Mounts the file systems of disks whose power was cut, and copies the image on each to another disk. The host changes the
# disk between two cuts, and looks at the copy.
. /vm/disks.sh

# udev would read the disks while they change.
udevadm control --exit
# A mount waits for it several times.
echo 1 >/sys/kernel/rcu_expedited

for kind in $FILE_SYSTEMS; do
    step "$kind is mounted after each cut"
    disk=$(disk_of "$kind")
    copy=$(disk_of "$kind-copy")
    cut=0
    while [ "$cut" -lt "$CUTS" ]; do
        poll next "$kind"
        # Nothing that was read of the disk before this cut may be used.
        blockdev --flushbufs "$disk"
        # Recovery is the same, and nothing more is written.
        mount -t "$kind" -o ro "$disk" /mnt || fail "cut $cut: cannot mount $kind: $(dmesg | tail -n 1)"
        dd if=/mnt/disk.img of="$copy" bs=1M oflag=direct 2>/tmp/dd.log ||
            fail "cut $cut: cannot read the image: $(head -n 1 /tmp/dd.log)"
        umount /mnt || fail "/mnt is busy"
        poll check "$kind"
        cut=$((cut + 1))
    done
    ask summary "$kind"
done
