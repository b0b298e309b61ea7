# Serves disks that the host logs: raw ones, and an image on each file system. The host loads them over iSCSI, and makes
# power cuts of its logs afterwards.
. /vm/disks.sh

# What is written gets to the disk soon, not with the next flush alone: there is more that a cut can spoil.
echo 20 >/proc/sys/vm/dirty_writeback_centisecs
echo 50 >/proc/sys/vm/dirty_expire_centisecs

step "make the file systems"
for kind in $FILE_SYSTEMS; do
    disk=$(disk_of "$kind")
    case $kind in
        ext4) mkfs.ext4 -q "$disk" ;;
        xfs) mkfs.xfs -q "$disk" ;;
        btrfs) mkfs.btrfs -q "$disk" ;;
    esac || fail "no $kind on $disk"
    mkdir -p "/mnt/$kind"
    mount -t "$kind" "$disk" "/mnt/$kind" || fail "cannot mount $kind"
done

# serve PORT OPTIONS KIND…: the logical units have the order of the kinds.
serve() {
    port=$1
    options=$2
    shift 2
    disks=""
    for kind in "$@"; do
        case $kind in
            raw*) disks="$disks -d $(disk_of "$kind")" ;;
            *) disks="$disks -d /mnt/$kind/disk.img" ;;
        esac
    done
    STATE_DIRECTORY=/tmp/state-$port
    mkdir -p "$STATE_DIRECTORY"
    export STATE_DIRECTORY
    $IESP -t "$TARGET" -i "0.0.0.0:$port" $CREATE -L error,info $options $disks \
        >"/tmp/iesp-$port.out" 2>"/tmp/iesp-$port.err" &
    wait_for 60 "iesp at port $port" grep -q iscsi:// "/tmp/iesp-$port.out"
}

step "iesp serves them"
[ -z "$CACHED" ] || serve 3260 "" $CACHED
[ -z "$DIRECT" ] || serve 3261 --direct $DIRECT
note "$(cat /tmp/iesp-*.out | grep -c -e 'LUN ' -e iscsi://) lines of iesp tell of disks"

step "the host loads them"
ask load
show "iesp" cat /tmp/iesp-*.err
for number in 3260 3261; do
    ! grep -q panicked "/tmp/iesp-$number.err" 2>/dev/null || fail "iesp panicked: $(grep panicked "/tmp/iesp-$number.err")"
done
