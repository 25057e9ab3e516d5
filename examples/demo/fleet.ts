import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Answer, Command, FromMember, Look, News, ToMember } from './messages.ts'

const MEMBER = fileURLToPath(new URL('member.ts', import.meta.url))
/** Nothing in the story takes longer than this; a process that does is stuck, and the story ends with an error. */
const COMMAND_TIMEOUT_MS = 30_000

/** A member process as the story sees it. */
export class Member {
  readonly label: string
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, (answer: Answer) => void>()
  #next = 1
  id = ''
  address = ''

  constructor(label: string, onNews: (member: Member, news: News) => void) {
    this.label = label
    // The child inherits this process's own flags: the loader and the condition that finds the library's sources.
    this.#child = fork(MEMBER, { execArgv: process.execArgv, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    this.#child.on('message', (message: FromMember) => {
      if ('news' in message) onNews(this, message.news)
      else this.#waiting.get(message.to)?.(message.answer)
    })
    this.#child.on('exit', () => {
      for (const answer of this.#waiting.values()) answer({ type: 'failed', message: 'the process has ended' })
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  async start(bootstrap: readonly string[]): Promise<void> {
    const answer = await this.ask({ type: 'start', bootstrap })
    if (answer.type !== 'started') throw new Error(`unexpected answer ${answer.type}`)
    this.id = answer.id
    this.address = answer.address
  }

  async look(): Promise<Look> {
    const answer = await this.ask({ type: 'look' })
    if (answer.type !== 'seen') throw new Error(`unexpected answer ${answer.type}`)
    return answer.look
  }

  ask(command: Command): Promise<Answer> {
    const id = this.#next++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id)
        reject(new Error(`${this.label} did not ${command.type} within ${COMMAND_TIMEOUT_MS} ms`))
      }, COMMAND_TIMEOUT_MS)
      this.#waiting.set(id, answer => {
        clearTimeout(timer)
        this.#waiting.delete(id)
        if (answer.type === 'failed') reject(new Error(`${this.label}: ${answer.message}`))
        else resolve(answer)
      })
      const message: ToMember = { command, id }
      this.#child.send(message)
    })
  }

  /** kill -9: no goodbye, nothing written. */
  kill(): void {
    this.#child.kill('SIGKILL')
  }
}

/** Asks again and again until the condition holds. */
export async function until<T>(what: string, withinMs: number, probe: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const result = await probe()
    if (result !== undefined) return result
    if (performance.now() > deadline) throw new Error(`${what}: not within ${withinMs} ms`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}
