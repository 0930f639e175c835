package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/rxring/rxring/fleet"
)

// Files of the directory of Init. The keys are needed to add users, not to run a hub.
const (
	operatorKey, operatorJWT = "operator.nk", "operator.jwt"
	accountKey, accountJWT   = "account.nk", "account.jwt"
	systemKey, systemJWT     = "system.nk", "system.jwt"
	shipCreds                = "ship.creds"
)

// readCreds is the file of the user that may use a class.
func readCreds(class string) string {
	if class == fleet.DefaultClass {
		return "read.creds"
	}
	return "read-" + class + ".creds"
}

// Init makes what is missing in a directory of an operator of NATS: its key, an account, and
// credentials of users: ship, which may offer devices, and a reader for each class; without
// classes, for fleet.DefaultClass. It returns the names of the files that it has made. What is
// there stays as it is.
func Init(dir string, classes ...string) (made []string, err error) {
	if len(classes) == 0 {
		classes = []string{fleet.DefaultClass}
	}
	for _, c := range classes {
		if err := (fleet.Query{Class: c}).Check(); err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	d := &directory{path: dir}
	if err := d.fill(classes); err != nil {
		return d.made, fmt.Errorf("hub: %w", err)
	}
	return d.made, nil
}

// directory is that of Init.
type directory struct {
	path string
	made []string // names of files
}

func (d *directory) fill(classes []string) error {
	operator, err := d.key(operatorKey, nkeys.CreateOperator)
	if err != nil {
		return err
	}
	account, err := d.key(accountKey, nkeys.CreateAccount)
	if err != nil {
		return err
	}
	system, err := d.key(systemKey, nkeys.CreateAccount)
	if err != nil {
		return err
	}
	operatorID, accountID, systemID := public(operator), public(account), public(system)
	err = errors.Join(
		d.write(operatorJWT, func() ([]byte, error) {
			c := jwt.NewOperatorClaims(operatorID)
			c.Name, c.SystemAccount = "rxring", systemID
			return encode(c, operator)
		}),
		d.write(systemJWT, func() ([]byte, error) {
			c := jwt.NewAccountClaims(systemID)
			c.Name = "system"
			return encode(c, operator)
		}),
		d.write(accountJWT, func() ([]byte, error) {
			c := jwt.NewAccountClaims(accountID)
			c.Name = "fleet"
			c.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit, MaxAckPending: jwt.NoLimit}
			return encode(c, operator)
		}),
		d.user(shipCreds, "ship", shipPermissions(), account))
	for _, class := range classes {
		err = errors.Join(err, d.user(readCreds(class), "read-"+class, readPermissions(class), account))
	}
	return err
}

// key returns the key of a file, which it makes if it is missing.
func (d *directory) key(name string, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, error) {
	err := d.write(name, func() ([]byte, error) {
		pair, err := create()
		if err != nil {
			return nil, err
		}
		return pair.Seed()
	})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(d.path, name)
	seed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pair, err := nkeys.ParseDecoratedNKey(seed)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: want the seed of a key, as `rxring hub --init` writes it", path, err)
	}
	return pair, nil
}

// user makes a user's credentials.
func (d *directory) user(file, name string, p jwt.Permissions, account nkeys.KeyPair) error {
	return d.write(file, func() ([]byte, error) {
		pair, err := nkeys.CreateUser()
		if err != nil {
			return nil, err
		}
		c := jwt.NewUserClaims(public(pair))
		c.Name, c.Permissions = name, p
		c.Sub.Allow.Add("_INBOX." + name + ".>")
		token, err := encode(c, account)
		if err != nil {
			return nil, err
		}
		seed, err := pair.Seed()
		if err != nil {
			return nil, err
		}
		return jwt.FormatUserConfig(string(token), seed)
	})
}

// write makes a file that is missing.
func (d *directory) write(name string, content func() ([]byte, error)) error {
	path := filepath.Join(d.path, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := content()
	if err == nil {
		_, err = f.Write(text)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path)) // half of one would stay for ever
	}
	d.made = append(d.made, name)
	return nil
}

func public(pair nkeys.KeyPair) string {
	id, _ := pair.PublicKey() // a pair that was made or parsed has one
	return id
}

func encode(c jwt.Claims, by nkeys.KeyPair) ([]byte, error) {
	token, err := c.Encode(by)
	return []byte(token), err
}

// Each user has inboxes of its own: a reader of one class does not receive answers, or recordings,
// that are for another.

// shipPermissions are those of hosts: to receive requests and to publish batches, of their own
// name and of each other's.
func shipPermissions() (p jwt.Permissions) {
	p.Pub.Allow.Add(
		"rxring.v1.*.*.ctl", "rxring.v1.*.*.*.s.*.*", "rxring.v1.*.*.*.r.*", "_INBOX.>",
		"$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*",
	)
	p.Sub.Allow.Add("$SRV.>", "rxring.v1.*.*.ctl", "rxring.v1.*.*.ctl.*", "$JS.*.API.>", "$JS.ACK.>", "$JS.FC.>")
	return p
}

// readPermissions are those of a class's readers. Recordings have no class: only readers of
// fleet.DefaultClass have them.
func readPermissions(class string) (p jwt.Permissions) {
	p.Pub.Allow.Add("$SRV.INFO.rxring", "rxring.v1.*.*.ctl."+class)
	p.Sub.Allow.Add("rxring.v1.*.*.*.s." + class + ".*")
	if class == fleet.DefaultClass {
		for _, api := range []string{"$JS.API", "$JS.*.API"} {
			p.Pub.Allow.Add(api+".INFO", api+".STREAM.LIST", api+".STREAM.NAMES", api+".STREAM.INFO.*", api+".STREAM.MSG.GET.*", api+".DIRECT.GET.>", api+".CONSUMER.>")
		}
		p.Pub.Allow.Add("$JS.ACK.>", "$JS.FC.>")
	}
	return p
}

// trust makes the server accept the users of a directory of Init, and no others.
func trust(o *server.Options, dir string) error {
	read := func(name string) (string, error) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: `rxring hub --init %s` makes it", err, dir)
		}
		return string(text), err
	}
	operator, err := read(operatorJWT)
	if err != nil {
		return err
	}
	claims, err := jwt.DecodeOperatorClaims(operator)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(dir, operatorJWT), err)
	}
	resolver := new(server.MemAccResolver)
	for _, name := range []string{accountJWT, systemJWT} {
		token, err := read(name)
		if err != nil {
			return err
		}
		account, err := jwt.DecodeAccountClaims(token)
		if err != nil {
			return fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
		}
		resolver.Store(account.Subject, token)
	}
	o.TrustedOperators = []*jwt.OperatorClaims{claims}
	o.SystemAccount = claims.SystemAccount
	o.AccountResolver = resolver
	return nil
}
