// A program of real size for loading: what the C++ library brings along, about 350 KB. It is never run.
#include <iomanip>
#include <iostream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

int main() {
    std::map<std::string, double> sums;
    const std::regex narrow("([a-z]+)=([0-9.]+)");
    const std::wregex wide(L"[a-z]+");
    for (std::string line; std::getline(std::cin, line);) {
        std::smatch match;
        if (!std::regex_search(line, match, narrow)) continue;
        double value = 0;
        std::istringstream(match[2]) >> value;
        sums[match[1]] += value;
    }
    for (const auto &[name, sum] : sums) {
        std::cout << std::setprecision(9) << name << ' ' << sum << '\n';
        std::wcout << std::regex_match(std::wstring(name.begin(), name.end()), wide) << std::put_time(nullptr, L"%c");
    }
}
