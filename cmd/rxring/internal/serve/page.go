package serve

import (
	"cmp"
	"context"

	"github.com/rxring/rxring"
	"github.com/rxring/rxring/attach"
	"github.com/rxring/rxring/cmd/rxring/internal/page"
)

// Page configures the page of --http.
type Page struct {
	Address page.Address // the zero value: there is no page

	// Cert and Key are the files of the certificate; "": there is none.
	Cert, Key string
}

// pageLimits are what the page's grants have in common: the page is limited as another user.
type pageLimits struct {
	budget  *rxring.Budget
	account *rxring.Account
}

func newPageLimits() *pageLimits {
	return &pageLimits{budget: rxring.NewBudget(attach.DefaultMaxMemory), account: rxring.NewAccount()}
}

// pageGrantOfBoth returns the page's grant. While a reload is prepared (next is not nil), it is
// what now and next both grant.
func (l *pageLimits) pageGrantOfBoth(now, next *Config) (attach.Grant, error) {
	g, err := now.pageGrant()
	if err == nil && next != nil {
		var n attach.Grant
		if n, err = next.pageGrant(); err == nil {
			g = intersect(g, n)
		}
	}
	if err != nil {
		return attach.Grant{}, err
	}
	l.budget.SetMax(cmp.Or(g.MaxMemory, attach.DefaultMaxMemory))
	g.Socket.Budget, g.Socket.Account = l.budget, l.account
	g.Socket.NoSend = true
	return g, nil
}

// openPage starts the page, after the server of attach.
func (s *server) openPage() (err error) {
	o := &s.opts.Page
	if o.Address.Network == "" {
		return nil
	}
	certificate, err := page.LoadCertificate(o.Cert, o.Key)
	if err != nil {
		return ConfigError{err}
	}
	limits := newPageLimits()
	grant := func() (attach.Grant, error) { return limits.pageGrantOfBoth(s.config.Load(), s.next.Load()) }
	if _, err := grant(); err != nil {
		return ConfigError{err}
	}
	s.page, err = page.New(page.Config{
		Address: o.Address, Certificate: certificate, Budget: limits.budget,
		Connect:  func(ctx context.Context) (*attach.Client, error) { return s.attach.Connect(ctx, grant) },
		Commands: page.Commands{Option: "--at", Value: cmp.Or(s.confined.Path, s.attach.Addr())},
		Log:      s.log,
		Print:    func(url string) { s.log.Info("page", "url", url) },
	})
	return err
}
