package top

import (
	"strings"

	tea "charm.land/bubbletea/v2"
)

// model is a screen that handles keys: a tea.Model.
type model struct {
	screen
	latest *Report // newer than screen.report while that is paused
}

// Messages of the goroutine that requests statuses.
type (
	reportMsg struct{ report *Report }
	lostMsg   struct{ err error } // a request failed, and will be repeated
)

// Size of a terminal that does not report one.
const (
	defaultWidth  = 80
	defaultHeight = 24
)

func (m *model) Init() tea.Cmd { return nil }

func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	v.WindowTitle = "rxring top " + clean(m.path)
	return v
}

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		if m.width <= 0 || m.height <= 0 {
			m.width, m.height = defaultWidth, defaultHeight
		}
	case reportMsg:
		m.latest, m.trouble = msg.report, ""
		if !m.paused {
			m.report = m.latest
		}
	case lostMsg:
		m.trouble = "no answer (retrying): " + msg.err.Error()
	case tea.KeyPressMsg:
		return m, m.key(msg.String())
	}
	return m, nil
}

func (m *model) key(name string) tea.Cmd {
	switch name {
	case "q", "ctrl+c":
		return tea.Quit
	case "p", "space":
		m.paused = !m.paused
		if !m.paused {
			m.report = m.latest
		}
	case "?", "h":
		m.help = !m.help
	case "esc":
		m.help = false
	case "s":
		m.order = (m.order + 1) % orders
	case "up", "k":
		m.move(-1)
	case "down", "j":
		m.move(1)
	case "home", "g":
		m.move(-len(m.report.Sockets))
	case "end", "G":
		m.move(len(m.report.Sockets))
	}
	return nil
}

// move selects the reader by places further down.
func (m *model) move(by int) {
	all := sorted(m.report.Sockets, m.order)
	if len(all) == 0 {
		return
	}
	at := min(max(m.selectedIn(all)+by, 0), len(all)-1)
	m.selected = keyOf(&all[at].SocketStatus)
}
