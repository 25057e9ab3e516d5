import type { FlushFence } from './flush-fence.ts'

/** What is to run by itself, one after another, between two batches. */
export class LoneTasks {
  readonly #fence: FlushFence
  readonly #waiting: (() => Promise<void>)[] = []

  constructor(fence: FlushFence) {
    this.#fence = fence
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0
  }

  /** Resolves with what the task comes to, once its turn has come. */
  add<T>(task: () => Promise<T>): Promise<T> {
    const group = this.#fence.enter()
    return new Promise((resolve, reject) => {
      this.#waiting.push(async () => {
        try {
          resolve(await task())
        } catch (error) {
          reject(error)
        }
        this.#fence.leave(group)
      })
    })
  }

  /** Runs the next one; `undefined` when there is none. It never rejects. */
  run(): Promise<void> | undefined {
    return this.#waiting.shift()?.()
  }
}
