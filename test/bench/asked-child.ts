import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A process of a bench that answers one command after the other. */
export class AskedChild<Command extends { readonly kind: string }, Answers extends Record<Command['kind'], unknown>> {
  readonly #child: ChildProcess

  /** @param name - of the file beside this one, without its ending: compiled if this one is */
  constructor(name: string) {
    this.#child = fork(fileURLToPath(new URL(`${name}${extname(import.meta.url)}`, import.meta.url)), {
      execArgv: [...process.execArgv, '--expose-gc', '--max-old-space-size=4096']
    })
  }

  async ask<C extends Command>(command: C): Promise<Answers[C['kind']]> {
    const over = new AbortController()
    const { signal } = over
    this.#child.send(command)
    try {
      const ended = once(this.#child, 'exit', { signal }).then(() => {
        throw new Error(`a process has ended during "${command.kind}"`)
      })
      const answered = once(this.#child, 'message', { signal })
      // Whichever is not waited for any more ends with the signal.
      for (const one of [ended, answered]) one.catch(() => {})
      const [message] = (await Promise.race([answered, ended])) as [{ answer: Answers[C['kind']] }]
      return message.answer
    } finally {
      over.abort()
    }
  }

  /** Ends the process with SIGKILL; resolves when it is gone. */
  async kill(): Promise<void> {
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
  }

  stop(): void {
    if (this.#child.connected) this.#child.disconnect()
  }
}
