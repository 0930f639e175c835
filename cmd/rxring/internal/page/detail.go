package page

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/rxring/rxring/source/file/capfile"
)

// detail is a packet that was opened.
type detail struct {
	Number   uint64  `json:"number"`
	Time     int64   `json:"time"`     // microseconds since 1970
	Length   int     `json:"length"`   // bytes
	Captured int     `json:"captured"` // bytes
	Link     string  `json:"link"`
	Comment  string  `json:"comment,omitempty"`
	Layers   []layer `json:"layers"`
	Bytes    string  `json:"bytes"` // in hexadecimal
}

// layer is a header, or what follows the headers.
type layer struct {
	Name   string  `json:"name"`
	Start  int     `json:"start"` // of its bytes
	Length int     `json:"length"`
	Fields []field `json:"fields"`
}

type field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const (
	maxLayers = 32
	maxValue  = 200 // bytes of a field's value
)

// serveDetail answers with a packet of a table.
func (s *Server) serveDetail(w http.ResponseWriter, r *http.Request) {
	t := s.streams.table(r.PathValue("stream"))
	if t == nil {
		http.Error(w, tableClosed, http.StatusNotFound)
		return
	}
	number, err := strconv.ParseUint(r.PathValue("number"), 10, 64)
	if err != nil {
		http.Error(w, "want a packet's number", http.StatusBadRequest)
		return
	}
	p, ok := t.keeper.get(number)
	if !ok {
		http.Error(w, fmt.Sprintf("the packet is not kept any more: rxring keeps the last %d, at most %d MiB. Pause the table to open packets.", keptPackets, keptBytes>>20), http.StatusGone)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(newDetail(number, &p, t.tap.LinkType()))
}

func newDetail(number uint64, p *capfile.Packet, link capfile.LinkType) *detail {
	return &detail{
		Number: number, Time: p.Timestamp / 1e3, Length: p.Len, Captured: len(p.Data), Link: link.String(), Comment: p.Comment,
		Layers: dissect(p.Data, link), Bytes: hex.EncodeToString(p.Data),
	}
}

// dissect returns a packet's layers, as far as gopacket knows them.
func dissect(data []byte, link capfile.LinkType) []layer {
	all := []layer{}
	start := 0
	p := gopacket.NewPacket(data, layers.LinkType(link), gopacket.DecodeOptions{NoCopy: true})
	for _, l := range p.Layers() {
		n := min(len(l.LayerContents()), len(data)-start)
		if len(all) == maxLayers {
			return all
		}
		all = append(all, layer{l.LayerType().String(), start, n, fields(l)})
		start += n
	}
	if e := p.ErrorLayer(); e != nil && len(all) > 0 {
		last := &all[len(all)-1]
		last.Fields = append(last.Fields, field{"error", shorten(e.Error().Error())})
	}
	return all
}

// fields returns a layer's exported fields that have a short text.
func fields(l gopacket.Layer) []field {
	all := []field{}
	v := reflect.Indirect(reflect.ValueOf(l))
	if v.Kind() != reflect.Struct {
		return all
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() || f.Anonymous || f.Name == "Contents" || f.Name == "Payload" {
			continue
		}
		if text, ok := value(v.Field(i)); ok {
			all = append(all, field{f.Name, text})
		}
	}
	return all
}

// value returns the text of a field.
func value(v reflect.Value) (text string, ok bool) {
	if s, ok := v.Interface().(fmt.Stringer); ok && (v.Kind() != reflect.Pointer || !v.IsNil()) {
		return shorten(s.String()), true
	}
	switch v.Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return shorten(fmt.Sprint(v.Interface())), true
	case reflect.Slice:
		if v.Len() == 0 {
			return "", false
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return shorten(hex.EncodeToString(v.Bytes()[:min(v.Len(), maxValue)])), true
		}
		return shorten(fmt.Sprint(v.Interface())), true
	}
	return "", false
}

func shorten(text string) string {
	if len(text) > maxValue {
		return text[:maxValue] + "..."
	}
	return text
}
