#!/usr/bin/env bash
# Versions: node-sqlite3-wasm 0.8.60 (SQLite 3.53.4).
# Expected: A database is unlocked when the process that locked it dies, like a database that is locked by SQLite's own file
#   locks.
# Actual: A lock is a folder beside the file, NAME.lock, and this folder stays. Each later process gets the error that the
#   database is locked. All users of the machine may read the folder, whatever the mode of the file.
# Source: The package's dist/node-sqlite3-wasm.js: a lock is a mkdirSync of NAME.lock.
# Reason to know it: A gateway that was killed could not open its index of calls again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts node-sqlite3-wasm@0.8.60 >/dev/null
cat >probe.mjs <<'EOF'
import { spawnSync } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import sqlite from 'node-sqlite3-wasm'
const write = `
  import sqlite from 'node-sqlite3-wasm'
  const db = new sqlite.Database('calls.sqlite')
  db.exec('CREATE TABLE IF NOT EXISTS calls(sid TEXT); BEGIN EXCLUSIVE')
  process.kill(process.pid, 'SIGKILL')`
spawnSync(process.execPath, ['--input-type=module', '-e', write])
const insert = () => {
  const db = new sqlite.Database('calls.sqlite')
  try {
    db.exec("INSERT INTO calls VALUES('one')")
    return 'written'
  } catch (error) {
    return error.message
  } finally {
    db.close()
  }
}
const left = existsSync('calls.sqlite.lock')
const before = insert()
rmSync('calls.sqlite.lock', { recursive: true, force: true })
const after = insert()
console.log(`after the death of the process that had it: folder ${left ? 'there' : 'gone'}, an insert: ${before}`)
console.log(`without the folder: ${after}`)
process.exit(left && /locked/.test(before) && after === 'written' ? 0 : 1)
EOF
node probe.mjs
