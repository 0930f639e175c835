package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

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
)

// readCreds is the file of the user that may use a class.
func readCreds(class string) string {
	if class == fleet.DefaultClass {
		return "read.creds"
	}
	return "read-" + class + ".creds"
}

// maxName is the length of a host's longest name, in bytes.
const maxName = 200

// InitConfig says which users Init makes. The zero value: readers of fleet.DefaultClass, and ship,
// which may offer devices as any host.
type InitConfig struct {
	Classes []string // of readers; nil: fleet.DefaultClass
	Hosts   []string // each gets a user that offers devices as this host alone
}

func (c *InitConfig) check() error {
	if len(c.Classes) == 0 {
		c.Classes = []string{fleet.DefaultClass}
	}
	for _, class := range c.Classes {
		if err := (fleet.Query{Class: class}).Check(); err != nil {
			return err
		}
	}
	for _, host := range c.Hosts {
		if host == "" || len(host) > maxName || strings.Contains(host, "/") {
			return fmt.Errorf("host %q: want its name in the fleet, 1 to %d bytes without '/', such as web-1", host, maxName)
		}
	}
	return nil
}

// Init makes what is missing in a directory of an operator of NATS: its key, an account, and
// credentials of users. It returns the names of the files that it has made. What is there stays as
// it is.
func Init(dir string, c InitConfig) (made []string, err error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	d := &directory{path: dir}
	if err := d.fill(&c); err != nil {
		return d.made, fmt.Errorf("hub: %w", err)
	}
	return d.made, nil
}

// directory is that of Init.
type directory struct {
	path string
	made []string // names of files
}

func (d *directory) fill(c *InitConfig) error {
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
		d.user("ship.creds", "ship", shipPermissions("*"), account))
	for _, host := range c.Hosts {
		name := strings.TrimPrefix(fleet.Domain(host), fleet.Domain("")) // a token of subjects
		err = errors.Join(err, d.user("ship-"+name+".creds", "ship-"+name, shipPermissions(name), account))
	}
	for _, class := range c.Classes {
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

// shipPermissions are those of a host, which is a token of subjects, or of all, "*": to receive
// requests and to publish batches. A leaf node of the host records in its own JetStream, to which
// readers' requests cross. Streams of the hub have no host in their names, so a user of all hosts
// alone makes them.
func shipPermissions(host string) (p jwt.Permissions) {
	p.Pub.Allow.Add("_INBOX.>")
	for _, s := range []string{"ctl", "*.s.*.*", "*.r.*.*", "*.i.*.*"} {
		p.Pub.Allow.Add("rxring.v1.*." + host + "." + s)
	}
	p.Sub.Allow.Add("$SRV.>", "rxring.v1.*."+host+".ctl", "rxring.v1.*."+host+".ctl.*")
	if host != "*" {
		p.Sub.Allow.Add("$JS." + fleet.Domain("") + host + ".API.>")
		return p
	}
	p.Pub.Allow.Add("$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*", "$JS.API.DIRECT.GET.*.rxring.v1.*.*.*.r.*.*")
	p.Sub.Allow.Add("$JS.*.API.>")
	return p
}

// readPermissions are those of a class's readers. They read a stream by consumers, which may be
// made for the subjects of the class alone; who does not know a consumer's name cannot request its
// messages.
func readPermissions(class string) (p jwt.Permissions) {
	p.Pub.Allow.Add("$SRV.INFO.rxring", "rxring.v1.*.*.ctl."+class)
	for _, api := range []string{"$JS.API", "$JS.*.API"} {
		for _, kind := range []string{"r", "i"} {
			p.Pub.Allow.Add(api + ".CONSUMER.CREATE.*.*.rxring.v1.*.*.*." + kind + "." + class + ".*")
		}
		p.Pub.Allow.Add(api+".CONSUMER.INFO.*.*", api+".CONSUMER.MSG.NEXT.*.*")
	}
	p.Sub.Allow.Add("rxring.v1.*.*.*.s." + class + ".*")
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
