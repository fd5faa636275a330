package emulator

import (
	"net/url"
	"strings"
)

// refererFits reports whether a Referer header matches one of the key's referrers. No referrers = any.
func refererFits(mode string, patterns []string, referer string) bool {
	if len(patterns) == 0 || mode == ReferrerIgnore {
		return true
	}
	if referer == "" {
		return false
	}
	for _, pattern := range patterns {
		if pattern == "*" || refererFitsOne(mode, pattern, referer) {
			return true
		}
	}
	return false
}

func refererFitsOne(mode, pattern, referer string) bool {
	if mode == ReferrerPrefix {
		return wildcard(strings.ToLower(pattern)+"*", strings.ToLower(referer))
	}
	u, err := url.Parse(referer)
	if err != nil || u.Host == "" {
		return false
	}
	scheme, rest, hasScheme := strings.Cut(strings.ToLower(pattern), "://")
	if !hasScheme {
		scheme, rest = "*", strings.ToLower(pattern)
	}
	host, _, _ := strings.Cut(rest, "/")
	if mode == ReferrerOrigin {
		return wildcard(scheme, strings.ToLower(u.Scheme)) && wildcard(host, strings.ToLower(u.Host))
	}
	if strings.Contains(host, ":") {
		return wildcard(host, strings.ToLower(u.Host))
	}
	return wildcard(host, strings.ToLower(u.Hostname()))
}

// wildcard matches a pattern in which * stands for any run of characters.
func wildcard(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	if !strings.HasPrefix(text, parts[0]) {
		return false
	}
	text = text[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return strings.HasSuffix(text, last)
}
