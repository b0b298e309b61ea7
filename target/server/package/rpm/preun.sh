# As %systemd_preun does it.
if [ "$1" -eq 0 ] && [ -x /usr/lib/systemd/systemd-update-helper ]; then
	/usr/lib/systemd/systemd-update-helper remove-system-units iesp.service iesp.socket || :
elif [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now iesp.service iesp.socket || :
fi
