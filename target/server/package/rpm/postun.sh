# As %systemd_postun_with_restart does it. Disks in /var/lib/iesp are their owner's: they stay, and so does the user.
if [ "$1" -ge 1 ] && [ -x /usr/lib/systemd/systemd-update-helper ]; then
	/usr/lib/systemd/systemd-update-helper mark-restart-system-units iesp.service || :
elif [ -d /run/systemd/system ]; then
	systemctl daemon-reload || :
	[ "$1" -lt 1 ] || systemctl try-restart iesp.service || :
fi
