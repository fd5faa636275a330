package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Problem is one reason why keyturn cannot work with this Vault.
type Problem struct {
	// What is wrong, in a sentence.
	What string
	// Hint says what to try.
	Hint string
}

// String is "WHAT (try: HINT)".
func (p Problem) String() string {
	if p.Hint == "" {
		return p.What
	}
	return p.What + " (try: " + p.Hint + ")"
}

// Health is what Vault says of itself. It needs no login.
type Health struct {
	Initialized bool
	Sealed      bool
	// Standby is true for a node that passes requests on to the active one.
	Standby bool
	Version string
	// Clock is Vault's clock, in whole seconds.
	Clock time.Time
}

// Health asks how Vault is. An error means that it could not be asked.
func (c *Client) Health(ctx context.Context) (Health, error) {
	k := call{op: "health", what: "ask for the health of " + c.config.Addr, method: http.MethodGet}
	var h Health
	err := c.attempt(ctx, k, func(ctx context.Context) error {
		resp, err := c.health.Sys().HealthWithContext(ctx)
		if err != nil {
			return err
		}
		h = Health{
			Initialized: resp.Initialized, Sealed: resp.Sealed, Standby: resp.Standby || resp.PerformanceStandby,
			Version: resp.Version, Clock: time.Unix(resp.ServerTimeUTC, 0).UTC(),
		}
		return nil
	})
	return h, err
}

// sample stands for every credential when capabilities are asked for.
const sample = "preflight/preflight"

// requirement is what the token must be able to do.
type requirement struct {
	path  string // asked for
	shown string // the path as it stands in a policy
	needs []string
}

func (c *Client) requirements() []requirement {
	p, all := c.at(sample), c.at("*")
	signing, checkpoint := c.at(signingPath), c.at(checkpointPath)
	return []requirement{
		{p.data, all.data, []string{"create", "update", "read"}},
		{p.metadata, all.metadata, []string{"create", "update", "read"}},
		{p.destroy, all.destroy, []string{"update"}},
		{signing.data, signing.data, []string{"read"}},
		{checkpoint.data, checkpoint.data, []string{"create", "update", "read"}},
		{checkpoint.metadata, checkpoint.metadata, []string{"create", "update"}},
	}
}

// Preflight says everything that would keep the daemon from working: whether
// Vault serves, the login, the mount, and each capability that the token
// lacks. It changes nothing. Empty = all is well.
func (c *Client) Preflight(ctx context.Context) []Problem {
	switch h, err := c.Health(ctx); {
	case err != nil:
		return []Problem{problem("Vault cannot be reached", err)}
	case !h.Initialized:
		return []Problem{{"Vault is not initialized", "vault operator init"}}
	case h.Sealed:
		return []Problem{{"Vault is sealed", "vault operator unseal"}}
	}
	if c.generation() == 0 {
		return []Problem{problem("keyturn is not logged in", notLoggedIn(c.LoginState()))}
	}
	var problems []Problem
	if err := c.requireMount(ctx, "look up the mount"); err != nil {
		problems = append(problems, problem("the KV mount cannot be used", err))
		if !credential.IsClass(err, credential.ClassPermanent) {
			return problems // what follows would only say the same
		}
	}
	return append(problems, c.missingCapabilities(ctx)...)
}

// missingCapabilities names each capability that the token lacks.
func (c *Client) missingCapabilities(ctx context.Context) []Problem {
	wanted := c.requirements()
	paths := make([]string, 0, len(wanted))
	for _, r := range wanted {
		paths = append(paths, r.path)
	}
	a, err := c.do(ctx, call{
		op: "capabilities", what: "ask for the capabilities of the token", method: http.MethodPut,
		path: "sys/capabilities-self", need: `"update"`, repeatable: true, body: map[string]any{"paths": paths},
	})
	if err != nil {
		return []Problem{problem("the capabilities of the token cannot be asked for", err)}
	}
	var problems []Problem
	for _, r := range wanted {
		has, _ := a.data[r.path].([]any)
		if slices.Contains(has, any("root")) {
			continue
		}
		for _, need := range r.needs {
			if !slices.Contains(has, any(need)) {
				problems = append(problems, Problem{
					What: fmt.Sprintf("the token lacks the capability %q on %s", need, r.shown),
					Hint: fmt.Sprintf("add %q to path %q in the policy (see deploy/vault/daemon.hcl)", need, r.shown),
				})
			}
		}
	}
	return problems
}

// problem makes a problem of a failure; a fault's hint becomes the hint.
func problem(what string, err error) Problem {
	var fault *credential.Fault
	if !errors.As(err, &fault) {
		return Problem{What: fmt.Sprintf("%s: %v", what, err), Hint: "check the login in the config"}
	}
	bare := *fault
	bare.Hint = ""
	return Problem{What: fmt.Sprintf("%s: %v", what, &bare), Hint: fault.Hint}
}
