// All tests but the slow ones. The files of a folder share processes; those in ALONE are long, because they start programs
// or gateways, or they look at all that their own process has.
import t from 'tap'
import { spawn, testFiles } from './lane.mjs'

/** Processes at a time. Most wait for sockets and clocks more than they compute: four keep two cores busy. */
const JOBS = 4
/** Files that share a process. Fewer, and more time goes into loading; more, and the last one ends late. */
const PER_PROCESS = 8
/** Folders whose processes take longest: they begin before those of the others, so that the last to end is a short one. */
const FIRST = ['workers', 'backends', 'media', 'gateway', 'security']
const ALONE = new RegExp(
  `^test/(${[
    'cli/(call-out|check-offline|demo|doctor|killed|serve|simulate|descriptors)',
    'console/.*',
    'fleet/(fleet|redis-store|supervisor)',
    'grafana/.*',
    'security/secrets',
  ].join('|')})[.]test[.]ts$`,
)

t.jobs = JOBS
t.setTimeout(0)

const files = testFiles().filter((file) => !file.endsWith('.slow.test.ts'))
// They take longest, so they come first.
for (const file of files.filter((file) => ALONE.test(file))) spawn(t, file, [file])

const folders = new Map()
for (const file of files.filter((file) => !ALONE.test(file))) {
  const folder = file.split('/')[1]
  folders.set(folder, [...(folders.get(folder) ?? []), file])
}
const rank = ([folder]) => (FIRST.includes(folder) ? FIRST.indexOf(folder) : FIRST.length)
for (const [folder, its] of [...folders].sort((a, b) => rank(a) - rank(b))) {
  const parts = Math.ceil(its.length / PER_PROCESS)
  for (let part = 0; part < parts; part++)
    spawn(
      t,
      `test/${folder}/ ${part + 1} of ${parts}`,
      its.filter((_, i) => i % parts === part),
    )
}
