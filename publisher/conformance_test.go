package publisher

import (
	"testing"

	"github.com/keyturn/keyturn/publisher/natstest"
	"github.com/keyturn/keyturn/publisher/recordtest"
)

func TestConformanceOneNode(t *testing.T) {
	recordtest.Run(t, func(t *testing.T) recordtest.Port { return oneNode(t).open(t) })
}

// The servers of a cluster take long to find each other, so its tests share
// one, and each gets a stream of its own.
func TestConformanceThreeNodes(t *testing.T) {
	cluster := natstest.StartCluster(t, 3)
	_, admin := natstest.Connect(t, cluster.URL())
	recordtest.Run(t, func(t *testing.T) recordtest.Port {
		if err := admin.DeleteStream(t.Context(), StreamName); err != nil {
			t.Logf("before the first test: %v", err)
		}
		return newClusterSite(t, cluster, 3).open(t)
	})
}
