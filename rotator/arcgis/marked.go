package arcgis

import (
	"context"

	"github.com/keyturn/keyturn/rotator/credential"
)

// Marked lists the owner's items in a folder that an installation made for one of
// the credentials, whatever the rotation. It reads the folder once. A folder that
// is not there holds none; it is not made.
func (p *Portal) Marked(ctx context.Context, folder, installation string, names []credential.Name) (map[credential.Name][]string, error) {
	id := ""
	if folder != "" {
		var err error
		if id, err = p.findFolder(ctx, folder); err != nil || id == "" {
			return nil, err
		}
	}
	found, err := p.findItems(ctx, id, []string{keyword(keywordInstallation, installation)})
	if err != nil {
		return nil, err
	}
	of := make(map[string]credential.Name, len(names))
	for _, name := range names {
		of[keyword(keywordCredential, string(name))] = name
	}
	marked := map[credential.Name][]string{}
	for _, item := range found {
		for _, word := range item.TypeKeywords {
			if name, ok := of[word]; ok {
				marked[name] = append(marked[name], item.ID)
			}
		}
	}
	return marked, nil
}
