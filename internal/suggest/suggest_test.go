package suggest

import "testing"

func TestClosest(t *testing.T) {
	words := []string{"streams", "iface", "file", "at"}
	for text, want := range map[string]string{
		"stream":         "streams",
		"flie":           "file",
		"fiel":           "file",
		"FILE":           "",
		"ifcae":          "iface",
		"interface":      "",
		"a":              "at",
		"ta":             "at",
		"xy":             "",
		"":               "",
		"carrier-pigeon": "",
		"file":           "file",
	} {
		if got, ok := Closest(text, words); got != want || ok != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, ok, want)
		}
	}
}
