package main

import (
	"bufio"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// connect starts WireGuard on two TUN devices, over UDP on this host, until disconnect is
// called, which closes them.
func connect(nearTun, farTun tun.Device) (disconnect func(), err error) {
	nearDevice := device.NewDevice(nearTun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "near: "))
	farDevice := device.NewDevice(farTun, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, "far: "))
	disconnect = func() {
		nearDevice.Close()
		farDevice.Close()
	}
	if err := configure(nearDevice, farDevice); err != nil {
		disconnect()
		return nil, err
	}
	return disconnect, nil
}

// configure gives each of the peers a key, the other's public key and address, and sets both up.
func configure(nearDevice, farDevice *device.Device) error {
	nearKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	farKey, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	if err := farDevice.IpcSet(configuration(farKey, nearKey.PublicKey()) + fmt.Sprintf("allowed_ip=%v/32\n", near)); err != nil {
		return err
	}
	if err := farDevice.Up(); err != nil {
		return err
	}
	port, err := listenPort(farDevice)
	if err != nil {
		return err
	}
	if err := nearDevice.IpcSet(configuration(nearKey, farKey.PublicKey()) + fmt.Sprintf("allowed_ip=%v/32\nendpoint=127.0.0.1:%s\n", far, port)); err != nil {
		return err
	}
	return nearDevice.Up()
}

func configuration(own *ecdh.PrivateKey, peer *ecdh.PublicKey) string {
	return fmt.Sprintf("private_key=%s\nlisten_port=0\npublic_key=%s\n", hex.EncodeToString(own.Bytes()), hex.EncodeToString(peer.Bytes()))
}

// listenPort returns the UDP port that the system has chosen for a device.
func listenPort(d *device.Device) (string, error) {
	state, err := d.IpcGet()
	if err != nil {
		return "", err
	}
	for lines := bufio.NewScanner(strings.NewReader(state)); lines.Scan(); {
		if port, ok := strings.CutPrefix(lines.Text(), "listen_port="); ok {
			return port, nil
		}
	}
	return "", fmt.Errorf("no listen_port in the state of the device:\n%s", state)
}
