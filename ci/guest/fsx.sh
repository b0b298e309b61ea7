# Two paths, a file system with journal and discard under two fsx, the verifier on the second LUN; then fsck and logout.
. /vm/load.sh

step "log in on both portals"
start_initiator
login
step "multipath: two paths to each LUN"
start_multipath

step "make $FS with discard"
make_file_system
for disk in $(disks_of 0) $(disks_of 1); do
    completed "$disk" >"/tmp/before.$disk"
done

step "load for $SECONDS_OF_LOAD s: two fsx and the verifier"
start_load
judge_load

step "both paths carried it"
for disk in $(disks_of 0) $(disks_of 1); do
    grown=$(($(completed "$disk") - $(cat "/tmp/before.$disk")))
    note "$disk: $grown commands, and $(discards "$disk") discards since its start"
    [ "$grown" -gt 50 ] || fail "$disk carried only $grown commands"
done
for lun in 0 1; do
    total=0
    for disk in $(disks_of "$lun"); do
        total=$((total + $(discards "$disk")))
    done
    note "LUN $lun: $total discards, $(flushes "$lun") flushes"
    [ "$total" -gt 0 ] || fail "nothing was discarded on LUN $lun"
    [ "$(flushes "$lun")" -gt 0 ] || fail "nothing was flushed on LUN $lun"
done

step "unmount and check the file system"
check_file_system
step "log out"
multipath -F || fail "a map is in use"
killall multipathd
logout
