import { ClassicLevel } from 'classic-level'

/** A database on a disk that can be filled up, and emptied again. */
export class FillableLevel extends ClassicLevel {
  isFull = false

  constructor(folder: string) {
    super(folder)
    const batch = this.batch.bind(this) as (...args: unknown[]) => Promise<void>
    const checked = async (...args: unknown[]): Promise<void> => {
      if (this.isFull) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })
      await batch(...args)
    }
    Object.defineProperty(this, 'batch', { value: checked })
  }
}
