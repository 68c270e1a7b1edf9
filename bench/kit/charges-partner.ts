import { parentPort, workerData } from 'node:worker_threads'
import { throwBall } from './charges.js'

// Data with which charges.ts starts this thread.
const { ball, rounds } = workerData as { readonly ball: Int32Array; readonly rounds: number }
parentPort?.postMessage('ready')
throwBall(ball, 1, rounds)
