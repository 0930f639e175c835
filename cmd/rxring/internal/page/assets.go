package page

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/http"
)

//go:embed static documents
var files embed.FS

// staticFiles serves the files of static.
func staticFiles() http.Handler {
	dir, err := fs.Sub(files, "static")
	if err != nil {
		panic(err) // the name is not valid
	}
	return http.StripPrefix("/static/", http.FileServerFS(dir))
}

// serveDocument answers with a file of documents. What differs between pages comes as events and
// from /commands.
func serveDocument(name string) http.HandlerFunc {
	document, err := files.ReadFile("documents/" + name)
	if err != nil {
		panic(err) // there is no such file
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(document)
	}
}

var serveLogin = serveDocument("login.html")

// serveCommands answers with Config.Commands.
func (s *Server) serveCommands(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(s.config.Commands)
}
