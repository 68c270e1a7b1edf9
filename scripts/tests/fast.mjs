// All tests but the slow ones. The files of a folder share processes; those in ALONE are long, because they start programs
// or gateways, or they look at all that their own process has.
import { join } from 'node:path'
import t from 'tap'
import { spawn, testFiles } from './lane.mjs'

/** Processes at a time. Most wait for sockets and clocks more than they compute: four keep two cores busy. */
const JOBS = 4
/** Files that share a process. Fewer, and more time goes into loading; more, and the last one ends late. */
const PER_PROCESS = 12
/**
 * The longest begins first, so that the last to end is a short one. Files of other folders share processes, the last ones:
 * to load costs a process more than most of them.
 */
const FOLDERS = [
  ...['cli', 'fleet', 'media', 'gateway', 'backends', 'agents', 'simulator', 'security', 'alone'],
  ...['workers', 'edge', 'telemetry', 'speech', 'messages', 'deploy', 'examples', 'call', ''],
]
const ALONE = new RegExp(
  `^test/(${[
    'cli/(call-out|check-offline|demo|doctor|killed|serve|descriptors)',
    'console/.*',
    'fleet/(redis-store|supervisor)',
    'grafana/.*',
    'security/secrets',
  ].join('|')})[.]test[.]ts$`,
)
t.jobs = JOBS
t.setTimeout(0)

const files = testFiles().filter((file) => !file.endsWith('.slow.test.ts'))
const groups = new Map(FOLDERS.map((folder) => [folder, []]))
for (const file of files) {
  const [, folder] = file.split('/')
  groups.get(ALONE.test(file) ? 'alone' : FOLDERS.includes(folder) ? folder : '').push(file)
}
for (const [group, its] of groups) {
  const parts = group === 'alone' ? its.length : Math.ceil(its.length / PER_PROCESS)
  for (let part = 0; part < parts; part++) {
    const name = group === 'alone' ? its[part] : `${join('test', group)}/ ${part + 1} of ${parts}`
    const files = its.filter((_, i) => i % parts === part)
    spawn(t, name, files)
  }
}
