import { createRoot } from "react-dom/client";
import ServicesMonitorPage from "@/app/(authenticated)/services/page";

const root = document.getElementById("root");
if (root) createRoot(root).render(<ServicesMonitorPage />);
