# As %systemd_post does it: presets decide whether it is enabled, and it is not started.
if [ "$1" -eq 1 ] && [ -x /usr/lib/systemd/systemd-update-helper ]; then
	/usr/lib/systemd/systemd-update-helper install-system-units iesp.service || :
elif [ "$1" -eq 1 ] && [ -d /run/systemd/system ]; then
	systemctl --no-reload preset iesp.service || :
fi
