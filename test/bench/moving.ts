import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { MovingAnswers, MovingCommand } from './moving-child.ts'

const CHILD = fileURLToPath(new URL('moving-child.ts', import.meta.url))

/** A node in a process of its own. */
class MovingNode {
  readonly #child: ChildProcess = fork(CHILD, {
    execArgv: ['--import', 'tsx/esm', '--conditions=kilovolt-source', '--max-old-space-size=4096']
  })

  async ask<C extends MovingCommand>(command: C): Promise<MovingAnswers[C['kind']]> {
    this.#child.send(command)
    const [message] = (await once(this.#child, 'message')) as [{ answer: MovingAnswers[C['kind']] }]
    return message.answer
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}

/**
 * How fast a new node receives everything that one other holds, how late the event loops of both run meanwhile, and what
 * comparing the two equal copies costs afterwards.
 */
export async function benchMoving(records: number): Promise<void> {
  const giver = new MovingNode()
  const taker = new MovingNode()
  try {
    const bootstrap = await giver.ask({ kind: 'start', bootstrap: [] })
    await giver.ask({ kind: 'fill', records })
    console.log(`${records} records of 100 bytes are there`)
    await giver.ask({ kind: 'watch' })
    const startMs = performance.now()
    await taker.ask({ kind: 'start', bootstrap })
    await taker.ask({ kind: 'watch' })
    await taker.ask({ kind: 'settled' })
    const seconds = (performance.now() - startMs) / 1000
    const { transfer } = await taker.ask({ kind: 'status' })
    const lags = [await giver.ask({ kind: 'lag' }), await taker.ask({ kind: 'lag' })]
    console.log(
      `transfer: ${transfer.recordsCopied} records in ${seconds.toFixed(1)} s, joining included: ` +
        `${Math.round(transfer.recordsCopied / seconds)}/s, ${(transfer.bytesCopied / seconds / 1e6).toFixed(1)} MB/s; ` +
        `event loops late by ${lags.map(lag => lag.toFixed(1)).join(' ms (giver) and ')} ms (taker) at the 99th percentile`
    )
    const before = performance.now()
    const { differences, bytes, missed } = await giver.ask({ kind: 'repair' })
    console.log(
      `repair of ${records} equal records: ${bytes} bytes, ${(performance.now() - before).toFixed(0)} ms, ` +
        `${differences} differences, ${missed.length} missed`
    )
  } finally {
    giver.kill()
    taker.kill()
  }
}
