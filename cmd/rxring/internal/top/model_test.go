package top

import (
	"errors"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// press presses keys, and says whether the last one ended it.
func press(m *model, keys ...string) (quit bool) {
	special := map[string]tea.Key{
		"up": {Code: tea.KeyUp}, "down": {Code: tea.KeyDown}, "end": {Code: tea.KeyEnd}, "home": {Code: tea.KeyHome},
		"esc": {Code: tea.KeyEscape}, "ctrl+c": {Code: 'c', Mod: tea.ModCtrl}, "space": {Code: tea.KeySpace, Text: " "},
	}
	for _, k := range keys {
		key, ok := special[k]
		if !ok {
			key = tea.Key{Code: []rune(k)[0], Text: k}
		}
		_, cmd := m.Update(tea.KeyPressMsg(key))
		quit = cmd != nil && cmd() == tea.Quit()
	}
	return quit
}

func newModel() *model {
	r := example()
	return &model{latest: r, screen: screen{path: "/tmp/s", report: r, live: true, width: 80, height: 40}}
}

// marked is the reader that is selected on the screen.
func marked(t *testing.T, m *model) string {
	t.Helper()
	for _, l := range m.lines() {
		if strings.HasPrefix(l, "> ") {
			return strings.Fields(l)[1]
		}
	}
	t.Fatalf("no reader is selected:\n%s", strings.Join(m.lines(), "\n"))
	return ""
}

func TestKeysSelect(t *testing.T) {
	m := newModel()
	for _, step := range []struct{ key, want string }{
		{"up", "dumpcap"}, {"down", "tcpdump"}, {"j", "uid"}, {"down", "uid"}, {"k", "tcpdump"},
		{"end", "uid"}, {"home", "dumpcap"}, {"G", "uid"}, {"g", "dumpcap"}, {"down", "tcpdump"},
		{"s", "tcpdump"}, // it goes with the reader: who drops is first now
		{"down", "dumpcap"},
	} {
		press(m, step.key)
		if got := marked(t, m); got != step.want {
			t.Fatalf("after %s: %s is selected, want %s", step.key, got, step.want)
		}
	}
	// The selected one leaves: the first one is.
	gone := *m.report
	gone.Sockets = gone.Sockets[2:]
	m.Update(reportMsg{&gone})
	if got := marked(t, m); got != "uid" {
		t.Errorf("%s is selected", got)
	}
	gone = *m.report
	gone.Sockets = nil
	m.Update(reportMsg{&gone})
	press(m, "down", "up", "end", "home", "s")
	if text := strings.Join(m.lines(), "\n"); !strings.Contains(text, "No readers") {
		t.Error(text)
	}
}

func TestKeysSortInEveryOrder(t *testing.T) {
	m := newModel()
	first := map[string]string{}
	for range orders {
		press(m, "s", "home")
		first[m.order.String()] = marked(t, m)
	}
	for order, want := range map[string]string{"opened": "dumpcap", "drops": "tcpdump", "held": "tcpdump", "captured": "tcpdump"} {
		if first[order] != want {
			t.Errorf("by %s the first is %s, want %s", order, first[order], want)
		}
	}
}

func TestPauseKeepsTheScreenUntilItGoesOn(t *testing.T) {
	m := newModel()
	shown := m.report
	press(m, "p")
	m.Update(reportMsg{example()})
	if m.report != shown {
		t.Error("it changed")
	}
	if l := m.lines()[0]; !strings.Contains(l, "paused") {
		t.Error(l)
	}
	press(m, "space")
	if m.report == shown || m.report != m.latest {
		t.Error("it does not go on with the latest")
	}
}

func TestHelpAndQuit(t *testing.T) {
	m := newModel()
	if press(m, "?") || !strings.Contains(m.View().Content, "ctrl+c") {
		t.Error("no help")
	}
	if press(m, "esc") || strings.Contains(m.View().Content, "ctrl+c") {
		t.Error("the help stays")
	}
	if press(m, "x") {
		t.Error("x ends it")
	}
	if !press(m, "q") || !press(m, "ctrl+c") {
		t.Error("it does not end")
	}
}

func TestTroubleIsShownUntilThereIsNews(t *testing.T) {
	m := newModel()
	m.Update(lostMsg{errors.New("the other end has gone")})
	if text := m.View().Content; !strings.Contains(text, "no answer (retrying): the other end has gone") || !strings.Contains(text, "tcpdump") {
		t.Error(text)
	}
	m.Update(reportMsg{example()})
	if text := m.View().Content; strings.Contains(text, "no news") {
		t.Error(text)
	}
}

func TestScreenFollowsTheTerminal(t *testing.T) {
	m := newModel()
	m.Update(tea.WindowSizeMsg{Width: 50, Height: 12})
	if got := len(m.lines()); got != 12 || m.width != 50 {
		t.Errorf("%d lines of %d columns", got, m.width)
	}
	m.Update(tea.WindowSizeMsg{}) // a terminal that does not know
	if got := len(m.lines()); got != defaultHeight || m.width != defaultWidth {
		t.Errorf("%d lines of %d columns", got, m.width)
	}
}
