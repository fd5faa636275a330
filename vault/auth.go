package vault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/kubernetes"

	"github.com/keyturn/keyturn/rotator/credential"
)

// serviceAccountToken is where Kubernetes puts the token of the pod.
const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// authenticate gets a new token in the configured way.
func (c *Client) authenticate(ctx context.Context) (credential.Secret, lease, error) {
	switch login := c.config.Login; {
	case login.AppRole != nil:
		return c.appRole(ctx, *login.AppRole)
	case login.Kubernetes != nil:
		return c.kubernetes(ctx, *login.Kubernetes)
	default:
		return c.givenToken(ctx, login.Token)
	}
}

func (c *Client) givenToken(ctx context.Context, source func() (credential.Secret, error)) (credential.Secret, lease, error) {
	const what = "log in with a token"
	token, err := source()
	if err == nil && token.Empty() {
		err = errors.New("the token is empty")
	}
	if err != nil {
		return credential.Secret{}, lease{}, inputFault(what, err)
	}
	client, err := c.newAPI(token)
	if err != nil {
		return credential.Secret{}, lease{}, inputFault(what, err)
	}
	l, err := c.lookup(ctx, client)
	if err != nil && !l.denied {
		return credential.Secret{}, lease{}, err
	}
	return token, l.lease, nil
}

func (c *Client) appRole(ctx context.Context, login AppRole) (credential.Secret, lease, error) {
	mount := login.Mount
	if mount == "" {
		mount = "approle"
	}
	what := "log in by approle at auth/" + mount
	role, err := login.RoleID()
	if err != nil {
		return credential.Secret{}, lease{}, inputFault(what, fmt.Errorf("role id: %w", err))
	}
	secret, err := login.SecretID()
	if err != nil {
		return credential.Secret{}, lease{}, inputFault(what, fmt.Errorf("secret id: %w", err))
	}
	method, err := approle.NewAppRoleAuth(role, &approle.SecretID{FromString: secret.Reveal()}, approle.WithMountPath(mount))
	if err != nil {
		return credential.Secret{}, lease{}, inputFault(what, err)
	}
	return c.logInBy(ctx, what, method, secret)
}

func (c *Client) kubernetes(ctx context.Context, login Kubernetes) (credential.Secret, lease, error) {
	mount, path := login.Mount, login.TokenPath
	if mount == "" {
		mount = "kubernetes"
	}
	if path == "" {
		path = serviceAccountToken
	}
	what := fmt.Sprintf("log in as role %q at auth/%s", login.Role, mount)
	data, err := os.ReadFile(path)
	if err != nil {
		return credential.Secret{}, lease{}, inputFault(what, err)
	}
	jwt := credential.NewSecret(strings.TrimSpace(string(data)))
	if jwt.Empty() {
		return credential.Secret{}, lease{}, inputFault(what, fmt.Errorf("%s is empty", path))
	}
	method, err := kubernetes.NewKubernetesAuth(login.Role,
		kubernetes.WithServiceAccountToken(jwt.Reveal()), kubernetes.WithMountPath(mount))
	if err != nil {
		return credential.Secret{}, lease{}, inputFault(what, err)
	}
	return c.logInBy(ctx, what, method, jwt)
}

// logInBy makes the login call.
func (c *Client) logInBy(ctx context.Context, what string, method api.AuthMethod, sent credential.Secret) (credential.Secret, lease, error) {
	client, err := c.newAPI(credential.Secret{})
	if err != nil {
		return credential.Secret{}, lease{}, inputFault(what, err)
	}
	k := call{op: "login", what: what, repeatable: true, login: true, hide: []credential.Secret{sent}}
	var auth *api.SecretAuth
	err = c.attempt(ctx, k, func(ctx context.Context) error {
		secret, err := method.Login(ctx, client)
		if err != nil {
			return err
		}
		if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
			return errUnreadable
		}
		auth = secret.Auth
		return nil
	})
	if err != nil {
		return credential.Secret{}, lease{}, err
	}
	return credential.NewSecret(auth.ClientToken), leaseOf(auth), nil
}

// inputFault is a login that failed before it was made: what it needs is not
// there. It may be there later, so it is tried again.
func inputFault(what string, err error) error {
	return &credential.Fault{
		Class: credential.ClassRetryable, System: system, Op: what, Err: err,
		Hint: "check what keyturn logs in with",
	}
}
