#!/usr/bin/env bash
# Versions: SQLite 3.53.4 (in node-sqlite3-wasm 0.8.60).
# Expected: With `PRAGMA secure_delete` a deleted row leaves no traces in the file, even in a full-text table without content.
# Actual: The words of a row that was deleted from an FTS5 table with `contentless_delete=1` stay in the file until its segments
#   are merged. Until then FTS5 only stores that the row was deleted. 'optimize' merges the segments and removes the words.
# Source: sqlite.org/pragma.html#pragma_secure_delete says that shadow tables of FTS5 may keep traces; fts5.html,
#   "Contentless-Delete Tables".
# Reason to know it: Callers have a right to be erased. After an erasure their words must not be in a file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts node-sqlite3-wasm@0.8.60 >/dev/null
cat >probe.mjs <<'EOF'
import { readFileSync } from 'node:fs'
import sqlite from 'node-sqlite3-wasm'
const db = new sqlite.Database('words.sqlite')
db.exec("PRAGMA secure_delete = ON; CREATE VIRTUAL TABLE words USING fts5(said, content='', contentless_delete=1)")
db.run('INSERT INTO words(rowid, said) VALUES(1, ?)', ['my name is wanjiruwambui'])
db.run('INSERT INTO words(rowid, said) VALUES(2, ?)', ['where is my order'])
db.exec('DELETE FROM words WHERE rowid = 1')
const found = db.all("SELECT rowid FROM words WHERE words MATCH 'wanjiruwambui'").length
const inFile = () => readFileSync('words.sqlite').includes('wanjiruwambui')
const before = inFile()
db.exec("INSERT INTO words(words) VALUES('optimize')")
const after = inFile()
console.log(`rows found: ${found}; the word in the file after DELETE: ${before}, after 'optimize': ${after}`)
process.exit(found === 0 && before && !after ? 0 : 1)
EOF
node probe.mjs
