/** The root of the page's state: the board, its stream, and the models of the views. */

import { effect, signal } from "@preact/signals";
import { BoardStream } from "../stream/stream";
import { Board } from "./board";
import { CoverageGapNotice } from "./coverage-gap";
import { Filter } from "./filter";
import { FrameBatcher } from "./frame-batcher";
import { IncidentPanel } from "./incidents";
import { ThemeChoice } from "./theme";

export class Store {
  readonly board = new Board();
  readonly coverageGap = new CoverageGapNotice(this.board);
  readonly filter = new Filter();
  readonly incidents = new IncidentPanel("api/incidents");
  readonly theme = new ThemeChoice();
  /** When the latest frame arrived, by `board.clock`; null before the first one. */
  readonly lastFrameAt = signal<number | null>(null);
  private readonly batcher = new FrameBatcher((messages) => this.board.apply(messages));
  private readonly stream: BoardStream;

  constructor(url: string) {
    this.stream = new BoardStream(url, {
      onMessage: (message) => {
        this.batcher.add(message);
        this.recordFrame(); // again, because the message may have set the clock
      },
      onConnection: (connection) => {
        this.batcher.flush();
        this.board.freshness.setConnection(connection);
      },
      onFrame: () => this.recordFrame(),
      onDropped: (count) => {
        this.board.dropped.value = count;
      },
    });
  }

  /** Connect, and stay connected until the returned function is called. */
  start(): () => void {
    const stops = [
      this.theme.start(),
      effect(() => {
        document.title = titleOf(this.board);
      }),
    ];
    this.filter.start();
    this.incidents.start();
    this.board.clock.start();
    this.stream.start();
    return () => {
      this.stream.stop();
      this.board.clock.stop();
      this.incidents.stop();
      this.filter.stop();
      for (const stop of stops) stop();
    };
  }

  private recordFrame(): void {
    // Whole seconds, the resolution of the views: the signal changes at most once a second.
    this.lastFrameAt.value = Math.floor(this.board.clock.read() / 1000) * 1000;
  }
}

/** Return the tab's title, with the number of instances in trouble, or `?` while it is unknown. */
function titleOf(board: Board): string {
  const title = "Background Services Monitor";
  if (board.facts.value !== null && board.freshness.stale.value) return `(?) ${title}`;
  return board.trouble.value > 0 ? `(${board.trouble.value}) ${title}` : title;
}
