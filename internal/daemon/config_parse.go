package daemon

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"go.uber.org/zap/zapcore"
)

// ParseSize reads a number of bytes: decimal digits and, where wanted, K, M
// or G (times 1024, 1024², 1024³), as in "4M". The result is at most
// math.MaxInt32, the most that a socket buffer's size can be.
func ParseSize(s string) (int, error) {
	digits, shift := s, 0
	if n := len(s); n > 0 {
		if i := strings.IndexByte("KMG", s[n-1]&^0x20); i >= 0 {
			digits, shift = s[:n-1], 10*(i+1)
		}
	}
	v, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || v > math.MaxInt32>>shift {
		return 0, errors.New("must be a number of bytes below 2G, with K, M or G behind it where wanted, for example 4M")
	}
	return int(v << shift), nil
}

// ParseRate reads a rate in Mbit/s (10⁶ bits a second), fractions allowed,
// and returns it in bits a second. 0 means no limit; otherwise the rate is
// from 0.1 Mbit/s to 1,000,000 Mbit/s.
func ParseRate(s string) (int64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || (v != 0 && (v < 0.1 || v > 1e6)) {
		return 0, errors.New("must be Mbit/s from 0.1 to 1000000, or 0 for no limit")
	}
	return int64(math.Round(v * 1e6)), nil
}

// ParseNumber reads a whole number from least to most.
func ParseNumber(s string, least, most int) (int, error) {
	v, err := strconv.Atoi(s)
	if err != nil || v < least || v > most {
		return 0, fmt.Errorf("must be a whole number from %d to %d", least, most)
	}
	return v, nil
}

// ParseGroup reads the address of an IPv4 multicast group.
func ParseGroup(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || !a.Is4() || !a.IsMulticast() {
		return netip.Addr{}, fmt.Errorf("must be an IPv4 multicast address, 224.0.0.0 to 239.255.255.255, for example %s", DefaultGroup)
	}
	return a, nil
}

// ParseBool reads a switch from the environment.
func ParseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "1", "yes", "true", "on":
		return true, nil
	case "0", "no", "false", "off":
		return false, nil
	}
	return false, errors.New("must be yes or no")
}

// ParseLevel reads a log level: debug, info, warn, error, or one of
// makuosan's numbers. Of those, 0 logged errors only, 1 what was asked for,
// 2 and 3 retries, and 4 to 9 single files and packets.
func ParseLevel(s string) (zapcore.Level, error) {
	switch strings.ToLower(s) {
	case "debug", "4", "5", "6", "7", "8", "9":
		return zapcore.DebugLevel, nil
	case "info", "1", "2", "3":
		return zapcore.InfoLevel, nil
	case "warn", "warning":
		return zapcore.WarnLevel, nil
	case "error", "0":
		return zapcore.ErrorLevel, nil
	}
	return 0, errors.New("must be debug, info, warn, error or a number from 0 (errors) to 9 (all)")
}
