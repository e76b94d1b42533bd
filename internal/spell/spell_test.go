package spell

import "testing"

func TestNearest(t *testing.T) {
	known := []string{"BASE", "STATE", "NO_SEND", "INTERFACE"}
	for word, want := range map[string]string{"BASE": "BASE", "BAES": "BASE", "STAET": "STATE", "NOSEND": "NO_SEND", "INTERFACES": "INTERFACE", "X": "", "COLOUR": "", "": ""} {
		if got := Nearest(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for pair, want := range map[[2]string]int{{"", ""}: 0, {"", "ab"}: 2, {"ab", ""}: 2, {"ab", "ba"}: 1, {"abc", "adc"}: 1, {"abcd", "bcde"}: 2} {
		if got := Distance(pair[0], pair[1]); got != want {
			t.Errorf("%q: %d, want %d", pair, got, want)
		}
	}
}
