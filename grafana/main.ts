import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BOARDS, boardJson } from './boards.js'

/**
 * `npm run dashboards` writes grafana/dashboards/*.json from this folder's source. With `--check` it lists the outdated
 * files.
 */
function repositoryRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder)
  return folder
}

const check = process.argv.includes('--check')
let stale = 0
for (const [file, build] of Object.entries(BOARDS)) {
  const path = join(repositoryRoot(), 'grafana', 'dashboards', file)
  const json = boardJson(build)
  if (!check) writeFileSync(path, json)
  else if (!existsSync(path) || readFileSync(path, 'utf8') !== json) {
    console.error(`grafana/dashboards/${file} is not current: run npm run dashboards and commit it`)
    stale++
  }
}
if (stale === 0) console.log(`${Object.keys(BOARDS).length} dashboards ${check ? 'are current' : 'written'}`)
process.exitCode = stale === 0 ? 0 : 1
