package page

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
)

//go:embed static templates
var files embed.FS

var templates = template.Must(template.ParseFS(files, "templates/*.html"))

// staticFiles serves the files of static.
func staticFiles() http.Handler {
	dir, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // the name is not valid
	}
	return http.StripPrefix("/static/", http.FileServerFS(dir))
}

// render answers with a template.
func (s *Server) render(w http.ResponseWriter, name string, data any) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		s.config.Log.Error("page", "template", name, "err", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(b.Bytes())
}
