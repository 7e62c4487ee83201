// Command recordcheck reads a published log with golang.org/x/mod/sumdb and nothing of mynah:
// the signed tree head, every tile through its hash reader, a proof of every leaf against the
// bytes in the entry bundles, and that each of some older trees is a beginning of this one.
//
// Usage: recordcheck FOLDER VKEY [OLD-CHECKPOINT ...]
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// folder serves tiles from disk; C2SP leaves out the height that Go puts into paths.
type folder string

func (f folder) path(tile tlog.Tile) string {
	return filepath.Join(string(f), strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
}

func (f folder) Height() int { return height }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var found [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(f.path(tile))
		if err != nil {
			return nil, err
		}
		found = append(found, data)
	}
	return found, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

// leaves reads the entry bundles, each leaf after two bytes of its length.
func (f folder) leaves(size int64) ([][]byte, error) {
	var found [][]byte
	for number := int64(0); number<<height < size; number++ {
		width := size - number<<height
		if width > 1<<height {
			width = 1 << height
		}
		path := f.path(tlog.Tile{H: height, L: -1, N: number, W: int(width)})
		data, err := os.ReadFile(strings.Replace(path, "tile/data/", "tile/entries/", 1))
		if err != nil {
			return nil, err
		}
		for len(data) > 0 {
			if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
				return nil, fmt.Errorf("bundle %d is cut short", number)
			}
			end := 2 + int(binary.BigEndian.Uint16(data))
			found = append(found, data[2:end])
			data = data[end:]
		}
	}
	if int64(len(found)) != size {
		return nil, fmt.Errorf("%d leaves in bundles, %d in the tree head", len(found), size)
	}
	return found, nil
}

// head opens a signed tree head. C2SP heads begin with the log's name, Go's with a fixed line.
func head(path string, vkey string) (tlog.Tree, error) {
	var none tlog.Tree
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return none, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return none, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return none, err
	}
	origin, rest, _ := strings.Cut(opened.Text, "\n")
	if origin != verifier.Name() {
		return none, fmt.Errorf("the tree head is of %s, not of %s", origin, verifier.Name())
	}
	return tlog.ParseTree([]byte("go.sum database tree\n" + rest))
}

func checkLeaves(log folder, tree tlog.Tree, hashes tlog.HashReader) error {
	leaves, err := log.leaves(tree.N)
	if err != nil {
		return err
	}
	for index, leaf := range leaves {
		proof, err := tlog.ProveRecord(tree.N, int64(index), hashes)
		if err != nil {
			return err
		}
		hash := tlog.RecordHash(leaf)
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, int64(index), hash); err != nil {
			return fmt.Errorf("leaf %d: %w", index, err)
		}
	}
	return nil
}

func run(args []string) error {
	log, vkey := folder(args[0]), args[1]
	tree, err := head(filepath.Join(args[0], "checkpoint"), vkey)
	if err != nil {
		return err
	}
	hashes := tlog.TileHashReader(tree, log)
	root, err := tlog.TreeHash(tree.N, hashes)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return fmt.Errorf("the tiles give root %v, the tree head says %v", root, tree.Hash)
	}
	if err := checkLeaves(log, tree, hashes); err != nil {
		return err
	}
	for _, path := range args[2:] {
		old, err := head(path, vkey)
		if err != nil {
			return err
		}
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return fmt.Errorf("the tree of %d leaves: %w", old.N, err)
		}
	}
	fmt.Printf("%d leaves, %d older trees\n", tree.N, len(args)-2)
	return nil
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: recordcheck FOLDER VKEY [OLD-CHECKPOINT ...]")
		os.Exit(2)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
