package hostabi

import "strings"

// A label of the jobs is a column that the policy's metadata name by its key:
// "job.label:team". It is a dict32 column of rows, NoText where the job has no such
// label. Its id is LabelBase plus its place among the labels of the metadata.
const (
	LabelPrefix          = "job.label:"
	LabelBase   ColumnID = 0x01000000
	MaxLabels            = 64
	maxLabelKey          = 317 // prefix of 253 bytes, slash, name of 63, as in Kubernetes
)

// LabelColumns returns one column for each label that the metadata name, required
// ones first, in the order in which they are named.
func (md *Metadata) LabelColumns() []Column {
	var out []Column
	for _, names := range [2][]string{md.Columns.Required, md.Columns.Optional} {
		for _, name := range names {
			if key, ok := strings.CutPrefix(name, LabelPrefix); ok {
				if c := labelColumn(LabelBase+ColumnID(len(out)), key); c != nil {
					out = append(out, *c)
				}
			}
		}
	}
	return out
}

// LabelKey is the label whose values a column holds; false if it holds none.
func (c *Column) LabelKey() (string, bool) { return strings.CutPrefix(c.Name, LabelPrefix) }

// labelColumn is the column of a label, nil if the id is not that of one.
func labelColumn(id ColumnID, key string) *Column {
	if id < LabelBase || id >= LabelBase+MaxLabels {
		return nil
	}
	return &Column{
		ID: id, Name: LabelPrefix + key, Kind: KindJobOrder, Type: Dict32, Shape: ShapeRow,
		Unit: "label", Doc: "value of the job's label " + key,
	}
}
