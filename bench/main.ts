import { runCase } from './case.js'
import { SUBJECTS } from './subjects.js'
const [name = 'mkondo', level = 'L0', calls = '50', seconds = '4'] = process.argv.slice(2)
const subject = SUBJECTS.find((s) => s.name === name)
if (subject === undefined) throw new Error('no such subject')
const result = await runCase(subject, { subject: name, level: level as 'L0', calls: Number(calls), seconds: Number(seconds), workers: 1, generators: 1, seed: 1, memory: true, profileDir: process.env['PROF'] ?? null, pin: false, latenessMsMax: 50 })
const s = result.speed; console.log(result.verdict, result.reasons, "cpu ms/call s", s?.cpuMsPerCallSecond, "us/frame", s?.cpuUsPerFrame, "main", s?.server.mainCores, "others", s?.server.otherCores, "gen", s?.generatorCores, "be", s?.backendCores, "added", s?.addedMs, "whole", s?.wholeMs, "stop", s?.stopMs, s?.bargeIns, "gap", s?.gapMs, "heap/frame", s?.heapBytesPerFrame, result.memory, result.truth, result.backend, result.lateness)
