getent group iesp >/dev/null || groupadd --system iesp
getent passwd iesp >/dev/null || useradd --system --gid iesp --home-dir /var/lib/iesp --no-create-home --shell /sbin/nologin --comment "iESP, an iSCSI target" iesp
exit 0
