package page

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// writeTime limits how long a browser may take to receive an event: then it is disconnected.
const writeTime = 10 * time.Second

// eventStream sends server-sent events.
type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  []byte
}

// newEventStream begins the answer to a request.
func newEventStream(w http.ResponseWriter) *eventStream {
	e := &eventStream{w: w, control: http.NewResponseController(w)}
	e.control.SetReadDeadline(time.Time{}) // the server's ReadTimeout is for requests
	w.Header().Set("Content-Type", "text/event-stream")
	return e
}

// send sends an event. data is one line, such as JSON.
func (e *eventStream) send(name string, data []byte) error {
	e.control.SetWriteDeadline(time.Now().Add(writeTime))
	b := append(e.buffer[:0], "event: "...)
	b = append(append(b, name...), "\ndata: "...)
	b = append(append(b, data...), "\n\n"...)
	e.buffer = b
	if _, err := e.w.Write(b); err != nil {
		return err
	}
	return e.control.Flush()
}

// sendJSON sends an event with a value.
func (e *eventStream) sendJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return e.send(name, data)
}

// refusal is the event after which a page does not connect again by itself.
type refusal struct {
	Field string `json:"field,omitempty"` // of the form that is wrong: filter or device
	Text  string `json:"text"`
}

// refuse sends a refusal.
func (e *eventStream) refuse(why string) { e.sendJSON("refused", refusal{Text: why}) }

// refuseField sends a refusal that says which field is wrong, if one is.
func (e *eventStream) refuseField(err error) {
	r := refusal{Text: err.Error()}
	if wrong := new(fieldError); errors.As(err, &wrong) {
		r.Field = wrong.field
	}
	e.sendJSON("refused", r)
}

// fieldError is an error of a field of the form.
type fieldError struct {
	field string
	error
}

func (e *fieldError) Unwrap() error { return e.error }
