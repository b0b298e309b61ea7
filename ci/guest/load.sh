# The load of a run: a file system with two fsx on LUN 0, the verifier on LUN 1. Each is started with a name, ends at
# the deadline or at its first complaint, and leaves its result in /tmp/NAME.result.

make_file_system() {
    device=$(map_of 0)
    case $FS in
        ext4) mkfs.ext4 -q "$device" && mount -t ext4 -o discard "$device" /mnt ;;
        xfs) modprobe xfs && mkfs.xfs -q "$device" && mount -t xfs -o discard "$device" /mnt ;;
    esac || fail "no $FS on $device"
    note "$(grep ' /mnt ' /proc/mounts)"
}

check_file_system() {
    device=$(map_of 0)
    ! grep -q ' /mnt ' /proc/mounts || umount /mnt || fail "/mnt is busy"
    case $FS in
        ext4) e2fsck -f -n "$device" ;;
        xfs) xfs_repair -n "$device" ;;
    esac >/tmp/fsck.log 2>&1 || {
        show fsck cat /tmp/fsck.log
        fail "$FS on $device is damaged"
    }
    note "fsck: $(tail -n 1 /tmp/fsck.log)"
}

# file_exerciser NAME SEED DEADLINE
file_exerciser() {
    seed=$2
    while [ "$(seconds)" -lt "$3" ] && [ ! -e /tmp/stop ]; do
        /vm/bin/fsx -q -f /vm/fsx.toml -S "$seed" -N 250 -P /tmp "/mnt/$1" >"/tmp/$1.log" 2>&1 || {
            echo "failed with seed $seed" >"/tmp/$1.result"
            return
        }
        seed=$((seed + 1))
    done
    echo "passed: $((seed - $2)) rounds of 250 operations, seeds from $2" >"/tmp/$1.result"
}

# verifier NAME SEED SECONDS
verifier() {
    if /vm/bin/test-blockdevice -d "$(map_of 1)" -b 4096 -n 3 -u 10 -T 9 --seed "$2" --seconds "$3" \
        --yes-destroy-data --quiet --log-dir /tmp $VERIFIER_OPTIONS >"/tmp/$1.log" 2>&1; then
        echo "passed: $(tail -n 1 "/tmp/$1.log")" >"/tmp/$1.result"
    else
        echo "failed" >"/tmp/$1.result"
    fi
}

start_load() {
    deadline=$(($(seconds) + $SECONDS_OF_LOAD))
    file_exerciser fsx-one "$SEED" "$deadline" &
    file_exerciser fsx-two "$((SEED + 100000))" "$deadline" &
    verifier verifier "$SEED" "$SECONDS_OF_LOAD" &
}

LOADS="fsx-one fsx-two verifier"

load_has_failed() {
    for name in $LOADS; do
        ! grep -q '^failed' "/tmp/$name.result" 2>/dev/null || return 0
    done
    return 1
}

load_has_ended() {
    load_has_failed && return 0
    for name in $LOADS; do
        [ -e "/tmp/$name.result" ] || return 1
    done
}

# Ends the load before its deadline: fsx at the end of its round, the verifier at once.
stop_load() {
    touch /tmp/stop
    killall -TERM test-blockdevice
    SECONDS_OF_LOAD=0
}

# What a load began before its deadline may take a while to end: the verifier reads everything once more.
judge_load() {
    wait_for "$((SECONDS_OF_LOAD + 180))" "the load's end" load_has_ended
    for name in $LOADS; do
        result=$(cat "/tmp/$name.result" 2>/dev/null || echo "stopped because of another")
        case $result in
            failed*)
                show "$name" cat "/tmp/$name.log"
                fail "$name $result: $(grep -m 1 -e FAULT -e ERROR -e panicked "/tmp/$name.log" || tail -n 1 "/tmp/$name.log")"
                ;;
        esac
        note "$name $result"
    done
}
