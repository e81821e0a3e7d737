#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# softnic's roce wire against the kernel's own RoCE, rdma_rxe, in a virtual machine: verified traffic,
# ib_write_bw and ib_read_bw, each side serving and each driving. Needs root and the packages that
# --install installs; the guest's kernel is downloaded and unpacked, not installed.
#
#	rxe.sh [--install]		SOFTNIC and VERIFIED_TRAFFIC name the programs
#
# The guest sees the machine's file system, read-only, so the programs are the same on both sides.
#
# Not in the suite: a boot under emulation takes minutes. Known to fail: step 7004, ib_read_bw that reads
# from rxe; verified READs in both directions pass.
set -u

packages=(qemu-system-x86 busybox-static cpio kmod iproute2 perftest ibverbs-providers)
if [ "${1-}" = --install ]; then
	DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "${packages[@]}" || exit 1
fi
SOFTNIC=$(realpath "${SOFTNIC:-softnic}")
VERIFIED_TRAFFIC=$(realpath "${VERIFIED_TRAFFIC:-verified_traffic}")
MEGABYTES=${MEGABYTES:-5}
HOST=198.18.2.1 GUEST=198.18.2.2
ns=softnic-vm-$$
cache=${XDG_CACHE_HOME:-$HOME/.cache}/softnic-vm
passed=0 failed=0
tmp=$(mktemp -d) || exit 1
qemu=
CONSOLE=${CONSOLE:-$tmp/console}

clean() {
	[ -n "$qemu" ] && kill "$qemu" 2>/dev/null && wait "$qemu"
	ip netns del "$ns" 2>/dev/null
	rm -rf "$tmp"
}
trap clean EXIT

fail() {
	echo "rxe.sh: $*" >&2
	exit 1
}

# ---- the guest ----

unpack_kernel() {
	local name
	name=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-6[^ ]*\)/\1/p' | head -n 1)
	[ -n "$name" ] || fail "apt knows no linux-image-amd64; run apt-get update"
	release=${name#linux-image-}
	[ -d "$cache/lib/modules/$release" ] && return
	mkdir -p "$cache"
	(cd "$tmp" && apt-get -q download "$name" >/dev/null) || fail "cannot download $name"
	dpkg-deb -x "$tmp/$name"_*.deb "$cache"
	depmod -b "$cache" "$release"
}

make_initramfs() {
	local root=$tmp/root module modules=()
	mkdir -p "$root"/{bin,modules,proc,sys,dev,ro,rw,new}
	cp "$(command -v busybox)" "$root/bin/busybox"
	for module in virtio_pci virtio_net 9pnet_virtio 9p overlay crc32_generic rdma_rxe ib_uverbs; do
		while read -r _ path _; do
			cp -n "$path" "$root/modules/"
			modules+=("$(basename "$path")")
		done < <(modprobe -d "$cache" -S "$release" --show-depends "$module" | grep '^insmod')
	done
	cat >"$root/init" <<-END
		#!/bin/busybox sh
		/bin/busybox --install -s /bin
		export PATH=/bin
		mount -t proc proc /proc
		mount -t sysfs sys /sys
		mount -t devtmpfs dev /dev
		for module in ${modules[*]}; do
			insmod /modules/\$module 2>/dev/null
		done
		mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=131072 root /ro
		mount -t tmpfs tmpfs /rw
		mkdir /rw/upper /rw/work
		mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new
		for fs in proc sys dev; do
			mount --move /\$fs /new/\$fs
		done
		chroot /new /bin/sh $tmp/guest.sh
		poweroff -f
	END
	chmod +x "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$tmp/initramfs"
}

# What the guest runs: each line is a step, tried until the other side is there.
write_guest_script() {
	cat >"$tmp/guest.sh" <<-END
		export PATH=/usr/sbin:/usr/bin:/sbin:/bin
		ip link set lo up
		for name in \$(ls /sys/class/net); do
			[ \$name != lo ] && ip address add $GUEST/24 dev \$name && ip link set \$name up &&
				rdma link add rxe0 type rxe netdev \$name
		done
		for try in 1 2 3 4 5 6 7 8 9 10; do # it comes when the address does
			gid=\$(grep -il ffff:c612:0202 /sys/class/infiniband/rxe0/ports/1/gids/* 2>/dev/null |
				sed 's|.*/||' | head -n 1)
			[ -n "\$gid" ] && break
			sleep 1
		done
		echo "guest: rxe0 with GID \$gid"
		step() {
			port=\$1
			shift
			for try in 1 2 3 4 5 6 7 8; do
				"\$@" >/tmp/said 2>&1 && { echo "guest: step \$port ok"; return; }
				sleep 1
			done
			echo "guest: step \$port failed"
			tail -n 5 /tmp/said
		}
		step 7001 $VERIFIED_TRAFFIC rxe0 \$gid 7001 $MEGABYTES
		step 7002 $VERIFIED_TRAFFIC rxe0 \$gid 7002 $MEGABYTES $HOST
		step 7003 ib_write_bw -F -d rxe0 -x \$gid -s 65536 -n 100 -p 7003
		step 7004 ib_read_bw -F -d rxe0 -x \$gid -s 65536 -n 100 -p 7004
		step 7005 ib_write_bw -F -d rxe0 -x \$gid -s 65536 -n 100 -p 7005 $HOST
		step 7006 ib_read_bw -F -d rxe0 -x \$gid -s 65536 -n 100 -p 7006 $HOST
	END
}

boot() {
	ip netns add "$ns" && ip -n "$ns" tuntap add tap0 mode tap || fail "cannot make a namespace with a tap"
	ip -n "$ns" address add $HOST/24 dev tap0
	ip -n "$ns" link set tap0 up
	ip -n "$ns" link set lo up
	ip netns exec "$ns" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi,tb-size=512 \
		-cpu max,-pclmulqdq -m 1024 -smp 2 -nodefaults -display none -serial stdio -no-reboot \
		-kernel "$cache/boot/vmlinuz-$release" -initrd "$tmp/initramfs" \
		-append "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable" \
		-fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
		-device virtio-9p-pci,fsdev=root,mount_tag=root \
		-netdev tap,id=net,ifname=tap0,script=no,downscript=no -device virtio-net-pci,netdev=net \
		</dev/null >"$CONSOLE" 2>&1 &
	qemu=$!
	for ((i = 0; i < 600; i++)); do
		grep -q "guest: rxe0" "$CONSOLE" && return
		kill -0 "$qemu" 2>/dev/null || break
		sleep 0.2
	done
	tail -n 20 "$CONSOLE" >&2
	fail "the guest does not come up"
}

# ---- our side ----

# PORT NAME COMMAND...: our side of a step; a client tries again until the guest serves.
step() {
	local port=$1 name=$2 status=1 i
	shift 2
	for ((i = 0; i < 8 && status; i++)); do
		ip netns exec "$ns" "$SOFTNIC" --instance "vm-$$" --devices 1 --wire roce --device "mlx5_0:ip=$HOST" -- \
			timeout 60 "$@" >"$tmp/said" 2>&1
		status=$?
		[ $status -eq 0 ] || sleep 1
	done
	for ((i = 0; i < 100; i++)); do
		grep -q "guest: step $port" "$CONSOLE" && break
		sleep 0.2
	done
	if [ $status -eq 0 ] && grep -q "guest: step $port ok" "$CONSOLE"; then
		passed=$((passed + 1))
		echo "ok   $name"
	else
		failed=$((failed + 1))
		echo "FAIL $name (status $status)"
		tail -n 5 "$tmp/said" | sed 's/^/  ours: /'
		tail -n 5 "$CONSOLE" | sed 's/^/  guest: /'
	fi
}

for program in qemu-system-x86_64 busybox cpio modprobe rdma ib_write_bw; do
	command -v $program >/dev/null || fail "$program is missing; rxe.sh --install installs it"
done
unpack_kernel
make_initramfs
write_guest_script
boot
step 7001 "we drive, rxe serves: WRITE, READ and SEND of $MEGABYTES MB are whole" \
	"$VERIFIED_TRAFFIC" mlx5_0 3 7001 "$MEGABYTES" $GUEST
step 7002 "rxe drives, we serve: WRITE, READ and SEND of $MEGABYTES MB are whole" \
	"$VERIFIED_TRAFFIC" mlx5_0 3 7002 "$MEGABYTES"
step 7003 "ib_write_bw to rxe" ib_write_bw -F -d mlx5_0 -x 3 -s 65536 -n 100 -p 7003 $GUEST
step 7004 "ib_read_bw from rxe" ib_read_bw -F -d mlx5_0 -x 3 -s 65536 -n 100 -p 7004 $GUEST
step 7005 "ib_write_bw of rxe" ib_write_bw -F -d mlx5_0 -x 3 -s 65536 -n 100 -p 7005
step 7006 "ib_read_bw of rxe" ib_read_bw -F -d mlx5_0 -x 3 -s 65536 -n 100 -p 7006
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
