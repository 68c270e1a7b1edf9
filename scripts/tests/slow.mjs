// The slow tests: real-time calls, most of which wait more than they compute, and long calculations.
import t from 'tap'
import { spawn, testFiles } from './lane.mjs'

const JOBS = 4
/** Their result depends on free processors: what is spoken has to be recognised in time. One at a time, after the others. */
const ALONE = new Set([])

t.jobs = JOBS
t.setTimeout(0)

const files = testFiles().filter((file) => file.endsWith('.slow.test.ts'))
for (const file of files.filter((file) => !ALONE.has(file))) spawn(file, [file])
for (const file of files.filter((file) => ALONE.has(file))) spawn(file, [file], { alone: true })
