import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { extname, join, relative, sep } from 'node:path'
import { packageRoot } from '../config/package-root.js'
import type { ConsoleFile } from '../edge/options.js'

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

/** Files of the built console, by their path at the ops port; empty if the console was not built. */
export function consoleFiles(): ReadonlyMap<string, ConsoleFile> {
  const folder = join(packageRoot(), 'dist', 'console')
  const files = new Map<string, ConsoleFile>()
  if (!existsSync(folder)) return files
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const contentType = CONTENT_TYPES[extname(entry.name)]
    if (!entry.isFile() || contentType === undefined) continue
    const file = join(entry.parentPath, entry.name)
    const path = `/${relative(folder, file).split(sep).join('/')}`
    files.set(path === '/index.html' ? '/' : path, { contentType, body: readFileSync(file) })
  }
  return files
}
