package declare

import (
	"strings"
	"testing"
)

// policies says what is wrong with each of these pieces of a policy.
func policies(t *testing.T, want map[string]string) {
	t.Helper()
	for piece, refusal := range want {
		text := strings.Replace(sound, "      lifetime: 90d\n      drain: 1h", piece, 1)
		if text == sound {
			t.Fatal("the declaration of the tests has changed")
		}
		_, err := Parse("k.yaml", []byte(text), against())
		if err == nil || !strings.Contains(err.Error(), refusal) {
			t.Errorf("%q: %v, want %q", piece, err, refusal)
		}
	}
}

func TestLesson06AbsurdTimesAreRefusedWhereTheyAreDeclared(t *testing.T) {
	policies(t, map[string]string{
		"      lifetime: 0":                              "lifetime",
		"      lifetime: 1s":                             "minimum",
		"      lifetime: 36500d":                         "365 days",
		"      lifetime: -90d":                           "not a duration",
		"      lifetime: 90d\n      rotate_before: 90d":  "rotate_before",
		"      lifetime: 90d\n      schedule: '@yearly'": "leaves",
	})
}

func TestTrapPassedWithZeroConsumersIsNotDeclared(t *testing.T) {
	const gate = "      lifetime: 90d\n      confirm: {before: retire, deadline: 1h, then: halt"
	policies(t, map[string]string{
		gate + "}":                      "confirm.consumers: missing",
		gate + ", consumers: []}":       "confirm.consumers",
		gate + ", consumers: ['', '']}": "confirm.consumers",
	})
}
