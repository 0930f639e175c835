package fleet

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Access names the files by which a process authenticates to a NATS server and checks the server.
// The zero value: it does not, and the system's certificate authorities sign the server's certificate.
type Access struct {
	Creds string // a user's JWT and the seed of its key, as of `nsc` or `rxring hub --init`
	NKey  string // the seed of a user's key
	CA    string // PEM certificates of authorities
}

// Options reads the files, which are not needed afterwards.
func (a Access) Options() (options []nats.Option, err error) {
	if a.Creds != "" && a.NKey != "" {
		return nil, fmt.Errorf("creds %q, nkey %q: want one of them", a.Creds, a.NKey)
	}
	if a.Creds != "" {
		text, err := os.ReadFile(a.Creds)
		if err != nil {
			return nil, fmt.Errorf("creds: %w: want a file of credentials, such as read.creds of `rxring hub --init`", err)
		}
		token, err := nkeys.ParseDecoratedJWT(text)
		if err == nil {
			_, err = nkeys.ParseDecoratedUserNKey(text)
		}
		if err != nil {
			return nil, fmt.Errorf("creds %q: %w: want a file of credentials, such as read.creds of `rxring hub --init`", a.Creds, err)
		}
		options = append(options, nats.UserCredentialBytes(text))
		if prefix := inboxOf(token); prefix != "" {
			options = append(options, nats.CustomInboxPrefix(prefix))
		}
	}
	if a.NKey != "" {
		text, err := os.ReadFile(a.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %w: want a file with the seed of a user's key (SU...)", err)
		}
		pair, err := nkeys.ParseDecoratedUserNKey(text)
		if err != nil {
			return nil, fmt.Errorf("nkey %q: %w: want a file with the seed of a user's key (SU...)", a.NKey, err)
		}
		id, err := pair.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("nkey %q: %w", a.NKey, err)
		}
		options = append(options, nats.Nkey(id, pair.Sign))
	}
	if a.CA != "" {
		text, err := os.ReadFile(a.CA)
		if err != nil {
			return nil, fmt.Errorf("ca: %w: want a PEM file of certificates", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(bytes.TrimSpace(text)) {
			return nil, fmt.Errorf("ca %q: it has no certificate: want a PEM file of certificates", a.CA)
		}
		options = append(options, nats.Secure(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}))
	}
	return options, nil
}

// inboxOf returns the prefix of the inboxes that a user may subscribe to; "": NATS's own, or
// unknown. Users of one account have different ones, or they would receive each other's answers.
func inboxOf(token string) string {
	c, err := jwt.DecodeUserClaims(token)
	if err != nil {
		return "" // the server says what is wrong with it
	}
	found := ""
	for _, s := range c.Sub.Allow {
		prefix, ok := strings.CutSuffix(s, ".>")
		switch {
		case s == ">" || prefix == "_INBOX":
			return ""
		case ok && strings.HasPrefix(prefix, "_INBOX") && !strings.Contains(prefix, "*"):
			found = prefix
		}
	}
	return found
}
