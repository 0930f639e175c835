package main

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rxring/rxring/cmd/rxring/internal/serve"
)

// The dashboard asks for metrics that exist, with labels that they have, and for each of them.
func TestDashboardHasTheMetrics(t *testing.T) {
	text, err := os.ReadFile("../../dist/grafana/rxring.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	exists := make(map[string]string) // labels by metric
	described := make(chan *prometheus.Desc, 100)
	serve.DescribeMetrics(described)
	shipMetrics(nil, nil).Describe(described)
	hubMetrics(nil).Describe(described)
	close(described)
	parts := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{(.*)\}`)
	for d := range described {
		p := parts.FindStringSubmatch(d.String())
		if p == nil {
			t.Fatalf("description %v", d)
		}
		exists[p[1]] = p[2]
	}
	shown := make(map[string]bool)
	metric, label := regexp.MustCompile(`rxring_\w+`), regexp.MustCompile(`(\w+)=~?"`)
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, m := range metric.FindAllString(target.Expr, -1) {
				shown[m] = true
				labels, ok := exists[m]
				if !ok {
					t.Errorf("%s: %s: there is no metric %s", p.Title, target.Expr, m)
				}
				for _, l := range label.FindAllStringSubmatch(target.Expr, -1) {
					if l[1] != "instance" && !regexp.MustCompile(`\b`+l[1]+`\b`).MatchString(labels) {
						t.Errorf("%s: %s: %s has labels %q", p.Title, target.Expr, m, labels)
					}
				}
			}
		}
	}
	for m := range exists {
		if !shown[m] {
			t.Errorf("no panel shows %s", m)
		}
	}
}
